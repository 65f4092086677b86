"""What a page of a PDF shows beside its text: pictures, and drawings such as charts."""

from __future__ import annotations

import ctypes
import itertools
import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import pypdfium2.raw as raw
from pypdfium2 import PdfMatrix, PdfPage

Box = tuple[float, float, float, float]
Point = tuple[float, float]
Placed = tuple[int, Any, PdfMatrix]
"""An object: its kind, its handle, and the matrix of the forms around it."""

MOST_DEPTH = 50
"""Of forms within forms, which the library follows, and draws, 40 deep."""
MOST_OBJECTS = 20_000
"""Of a page, all those in its forms as often as they stand there; what comes behind may be anything."""
MOST_SEGMENTS = 2_000
"""Of a page's lines and curves; one with more is a drawing, whatever they are."""
LONG_SLANTS, SLANTS = 8, 200
"""From how many slanted lines and curves on, long ones and all, there is a drawing: more than bullets and rounded boxes
have."""
LONG = 0.02
"""Of the page's longer side, in both directions: longer than a box is rounded."""
CURVE, CURVE_LENGTH = 20, 0.15
"""How many slants in a row are a curve of many points, if they go that part of the page's longer side."""
BARS = 3
"""How many bars of different lengths stand on one line in a chart."""
SLANT = 0.0002
"""Of the page's longer side, in both directions: no line that is upright but for rounding."""
THIN = 0.004
"""Of the page's longer side: a rule of a table, and no bar."""
SHOWN_NOTES = frozenset(
    (
        raw.FPDF_ANNOT_FREETEXT, raw.FPDF_ANNOT_LINE, raw.FPDF_ANNOT_SQUARE, raw.FPDF_ANNOT_CIRCLE,
        raw.FPDF_ANNOT_POLYGON, raw.FPDF_ANNOT_POLYLINE, raw.FPDF_ANNOT_STAMP, raw.FPDF_ANNOT_INK,
        raw.FPDF_ANNOT_WIDGET,
    )
)  # fmt: skip
"""Annotations that are drawn, such as the fields of a form; most others are links."""


class Looks(NamedTuple):
    """As `Page` has them."""

    pictures: float
    has_drawing: bool
    is_bare: bool


def looks_of(page: PdfPage, has_text: bool) -> Looks:
    """Look at what stands on a page; text that nobody can extract is something to see, too."""
    drawing = _Drawing(max(page.get_size()))
    box = page.get_bbox()
    pictures, is_bare = 0.0, True
    for count, (kind, handle, matrix) in enumerate(_objects(page)):
        is_bare = is_bare and (kind == raw.FPDF_PAGEOBJ_FORM or (has_text and kind == raw.FPDF_PAGEOBJ_TEXT))
        if kind == raw.FPDF_PAGEOBJ_IMAGE:
            pictures += _part(_bounds(handle, matrix), box)
        elif kind == raw.FPDF_PAGEOBJ_PATH and not drawing.is_one:
            drawing.add(handle, matrix)
        if count > MOST_OBJECTS:
            is_bare = False
            break
    has_notes = _has_shown_notes(page)
    return Looks(min(pictures, 1.0), drawing.is_one or has_notes, is_bare and not has_notes)


def _objects(page: PdfPage) -> Iterator[Placed]:
    """Yield all objects, also those within forms, which may be within themselves."""
    levels = [_on_page(page)]
    while levels:
        if (placed := next(levels[-1], None)) is None:
            levels.pop()
            continue
        yield placed
        kind, handle, matrix = placed
        if kind == raw.FPDF_PAGEOBJ_FORM and len(levels) < MOST_DEPTH:
            levels.append(_in_form(handle, _matrix(handle).multiply(matrix)))


def _on_page(page: PdfPage) -> Iterator[Placed]:
    for at in range(raw.FPDFPage_CountObjects(page)):
        handle = raw.FPDFPage_GetObject(page, at)
        yield raw.FPDFPageObj_GetType(handle), handle, PdfMatrix()


def _in_form(form: Any, matrix: PdfMatrix) -> Iterator[Placed]:
    for at in range(raw.FPDFFormObj_CountObjects(form)):
        handle = raw.FPDFFormObj_GetObject(form, at)
        yield raw.FPDFPageObj_GetType(handle), handle, matrix


def _matrix(handle: Any) -> PdfMatrix:
    found = raw.FS_MATRIX()
    raw.FPDFPageObj_GetMatrix(handle, found)
    return PdfMatrix.from_raw(found)


def _bounds(handle: Any, matrix: PdfMatrix) -> Box:
    sides = [ctypes.c_float() for _ in range(4)]
    raw.FPDFPageObj_GetBounds(handle, *sides)
    box: Box = matrix.on_rect(*(side.value for side in sides))
    return box


def _part(box: Box, page: Box) -> float:
    """Return which part of a page a box takes."""
    left, bottom, right, top = page
    area = (right - left) * (top - bottom)
    width, height = min(box[2], right) - max(box[0], left), min(box[3], top) - max(box[1], bottom)
    return width * height / area if width > 0 and height > 0 and area > 0 else 0.0


def _has_shown_notes(page: PdfPage) -> bool:
    for at in range(min(raw.FPDFPage_GetAnnotCount(page), MOST_OBJECTS)):
        if note := raw.FPDFPage_GetAnnot(page, at):
            kind = raw.FPDFAnnot_GetSubtype(note)
            raw.FPDFPage_CloseAnnot(note)
            if kind in SHOWN_NOTES:
                return True
    return False


class _Drawing:
    """Finds out whether a page's lines and curves are a drawing, and no more than rules and boxes."""

    def __init__(self, side: float):
        self._side = side
        self._segments = self._slants = self._long_slants = 0
        self._has_curve = self._has_bars = False
        self._bars: defaultdict[tuple[int, int, int], set[int]] = defaultdict(set)
        self.is_one = False

    def add(self, handle: Any, matrix: PdfMatrix) -> None:
        """Look at a path."""
        for corners in _lines(handle, _matrix(handle).multiply(matrix), MOST_SEGMENTS - self._segments):
            self._segments += len(corners)
            self._add_slants(corners)
            self._add_bar(corners)
        many = self._long_slants >= LONG_SLANTS or self._slants >= SLANTS or self._segments >= MOST_SEGMENTS
        self.is_one = many or self._has_curve or self._has_bars

    def _add_slants(self, corners: list[Point]) -> None:
        steps = [(abs(end[0] - begin[0]), abs(end[1] - begin[1])) for begin, end in itertools.pairwise(corners)]
        slants = [step for step in steps if min(step) > SLANT * self._side]
        self._slants += len(slants)
        self._long_slants += sum(min(step) > LONG * self._side for step in slants)
        goes = sum(math.hypot(*step) for step in slants)
        self._has_curve = self._has_curve or (len(slants) >= CURVE and goes > CURVE_LENGTH * self._side)

    def _add_bar(self, corners: list[Point]) -> None:
        """Note an upright box by each of its sides on which it may stand, its width, and its length."""
        xs, ys = sorted({round(x) for x, _ in corners}), sorted({round(y) for _, y in corners})
        if len(corners) not in (4, 5) or len(xs) != 2 or len(ys) != 2:
            return
        (left, right), (bottom, top) = xs, ys
        width, height = right - left, top - bottom
        if min(width, height) <= THIN * self._side:
            return
        standing = [((side, base, width), height) for side, base in enumerate((bottom, top))]
        lying = [((side, base, height), width) for side, base in enumerate((left, right), start=2)]
        for where, length in standing + lying:
            self._bars[where].add(length)
            self._has_bars = self._has_bars or len(self._bars[where]) >= BARS


def _lines(handle: Any, matrix: PdfMatrix, most: int) -> Iterator[list[Point]]:
    """Yield the connected lines of a path as the points on them, up to a number of points."""
    corners: list[Point] = []
    within = 0  # a curve, of whose three points only the last is on it
    for at in range(min(raw.FPDFPath_CountSegments(handle), most)):
        segment = raw.FPDFPath_GetPathSegment(handle, at)
        kind = raw.FPDFPathSegment_GetType(segment)
        within = (within + 1) % 3 if kind == raw.FPDF_SEGMENT_BEZIERTO else 0
        if kind == raw.FPDF_SEGMENT_MOVETO and corners:
            yield corners
            corners = []
        if not within:
            x, y = ctypes.c_float(), ctypes.c_float()
            raw.FPDFPathSegment_GetPoint(segment, x, y)
            point = matrix.on_point(x.value, y.value)
            if all(map(math.isfinite, point)):
                corners.append(point)
    yield corners
