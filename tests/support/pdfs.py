"""PDFs made by hand: pages of text, pages that show something, and files that mean harm."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence

import numpy as np
import pypdf

SHEET = "0 0 612 792"


def text_at(text: str, y: int = 700) -> str:
    return f"BT /F1 12 Tf 50 {y} Td ({text}) Tj ET"


def pdf(
    *texts: str,
    streams: Sequence[bytes] | None = None,
    box: str = SHEET,
    objects: Sequence[bytes] = (),
    more: str = "",
) -> bytes:
    """Return a PDF with a page for each text, or for each stream of a page's commands, which are deflated.

    The pages may draw the `objects` by the names X0, X1, …; `more` is what a page's object has beside the usual.
    """
    streams = [zlib.compress(text_at(each).encode()) for each in texts] if streams is None else streams
    pages = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(streams)))
    names = " ".join(f"/X{number} {4 + 2 * len(streams) + number} 0 R" for number in range(len(objects)))
    written = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{pages}] /Count {len(streams)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, stream in enumerate(streams):
        resources = f"/Resources << /Font << /F1 3 0 R >> /XObject << {names} >> >>"
        head = f"/Type /Page /Parent 2 0 R /MediaBox [{box}] {resources} {more}"
        written.append(f"<< {head} /Contents {5 + 2 * number} 0 R >>".encode())
        written.append(_stream("/Filter /FlateDecode", stream))
    return _written([*written, *objects])


def pages(*commands: str, box: str = SHEET, objects: Sequence[bytes] = (), more: str = "") -> bytes:
    """Return a PDF with a page for each text of commands."""
    return pdf(streams=[zlib.compress(each.encode()) for each in commands], box=box, objects=objects, more=more)


def picture(width: int = 16, height: int = 16) -> bytes:
    """Return the object of a picture, of noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8).tobytes()
    return _picture(width, height, zlib.compress(pixels))


def form(commands: str, names: str = "", matrix: str = "1 0 0 1 0 0") -> bytes:
    """Return the object of a form: commands that pages and other forms draw as one thing."""
    head = f"/Type /XObject /Subtype /Form /BBox [0 0 9999 9999] /Matrix [{matrix}]"
    return _stream(f"{head} /Resources << /XObject << {names} >> >>", commands.encode())


def _picture(width: int, height: int, deflated: bytes) -> bytes:
    size = f"/Type /XObject /Subtype /Image /Width {width} /Height {height}"
    return _stream(f"{size} /BitsPerComponent 8 /ColorSpace /DeviceRGB /Filter /FlateDecode", deflated)


def _stream(head: str, data: bytes) -> bytes:
    return f"<< {head} /Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"


def _written(objects: Sequence[bytes]) -> bytes:
    file, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, each in enumerate(objects, start=1):
        offsets.append(len(file))
        file += b"%d 0 obj\n" % number + each + b"\nendobj\n"
    begin = len(file)
    file += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    file += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return bytes(file) + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, begin)


def encrypted(data: bytes, password: str) -> bytes:
    """Encrypt a PDF; "" lets anybody open it."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(data))
    writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def _inflating(mebibytes: int, filling: bytes) -> bytes:
    """Return a deflated stream of many equal bytes, of which each MiB takes a KB, made without deflating them all."""
    squeezed = zlib.compressobj(9)
    first = squeezed.compress(filling * 2**20) + squeezed.flush(zlib.Z_FULL_FLUSH)
    block = squeezed.compress(filling * 2**20) + squeezed.flush(zlib.Z_FULL_FLUSH)
    return first + block * (mebibytes - 1) + squeezed.flush()


def bomb() -> bytes:
    """A page of 3 GiB in a file of some 3 MB."""
    return pdf(streams=[_inflating(3072, b" ")])


def picture_bomb() -> bytes:
    """A page with a picture of 625 megapixels, black ones, in a file of some 2 MB."""
    return pages("612 0 0 792 0 0 cm /X0 Do", objects=[_picture(25_000, 25_000, _inflating(1789, b"\0"))])


def nested() -> bytes:
    """A page of ten forms, each of which has ten, and so on."""
    names = "/X {} 0 R"
    forms = [form("/X Do " * 10, names.format(number + 1)) for number in range(6, 18)]
    return pages("/X0 Do", objects=[*forms, form("0 0 9 9 re f")])


def endless() -> bytes:
    """A page whose commands take minutes."""
    return pdf(streams=[zlib.compress(b"BT /F1 12 Tf 50 700 Td " + b"(a) Tj 1 1 Td " * 150_000 + b"ET")] * 200)


def painted_over() -> bytes:
    """A page that is read at once, but painted so often that it takes minutes to draw."""
    return pages(f"{text_at('painted over')} " + "0 0 612 792 re f " * 100_000)
