"""TEMPORARY."""
import codecs
class TextStream:
    def __init__(self, stops=()):
        self.stops=stops; self.matched=None; self.dec=codecs.getincrementaldecoder("utf-8")("replace"); self.held=""
    def feed(self, piece):
        self.held+=self.dec.decode(piece)
        for s in self.stops:
            i=self.held.find(s)
            if i>=0:
                self.matched=s; out=self.held[:i]; self.held=""; return out
        keep=0
        for s in self.stops:
            for k in range(1,len(s)):
                if self.held.endswith(s[:k]): keep=max(keep,k)
        out=self.held[:len(self.held)-keep]; self.held=self.held[len(self.held)-keep:]
        return out
    def flush(self):
        out=self.held+self.dec.decode(b"",True); self.held=""; return out
