"""PDFs made by hand: pages of text, and files that mean harm."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence

import pypdf


def pdf(*texts: str, streams: Sequence[bytes] | None = None) -> bytes:
    """Return a PDF with a page for each text, or for each stream of a page's commands, which are deflated."""
    drawn = [f"BT /F1 12 Tf 50 700 Td ({text}) Tj ET".encode() for text in texts]
    streams = [zlib.compress(each) for each in drawn] if streams is None else streams
    pages = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(streams)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{pages}] /Count {len(streams)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, stream in enumerate(streams):
        head = "/Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >>"
        objects.append(f"<< {head} /Contents {5 + 2 * number} 0 R >>".encode())
        length = f"<< /Length {len(stream)} /Filter /FlateDecode >>".encode()
        objects.append(length + b"\nstream\n" + stream + b"\nendstream")
    return _written(objects)


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


def bomb() -> bytes:
    """A page of 400 MB in a file of some 400 KB."""
    squeezed, zeros = zlib.compressobj(9), b" " * 2**20
    return pdf(streams=[b"".join(squeezed.compress(zeros) for _ in range(400)) + squeezed.flush()])


def endless() -> bytes:
    """A page whose commands take minutes."""
    return pdf(streams=[zlib.compress(b"BT /F1 12 Tf 50 700 Td " + b"(a) Tj 1 1 Td " * 150_000 + b"ET")] * 200)
