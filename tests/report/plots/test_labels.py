from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.report.plots.labels import POINT, Box, Canvas, place_labels

FRAME = Box(260, 170, 260, 170)
SPOT = st.tuples(st.floats(0, 520), st.floats(0, 340))


def boxes_of(points: list[tuple[float, float]], size: tuple[float, float]) -> list[Box]:
    shifts = place_labels([size] * len(points), Canvas(FRAME, tuple(points)))
    placed = zip(points, shifts, strict=True)
    return [Box(x + s[0], y + s[1], size[0] / 2, size[1] / 2) for (x, y), s in placed if s is not None]


@settings(max_examples=50, deadline=None)
@given(st.lists(SPOT, min_size=1, max_size=20))
def test_labels_never_overlap_one_another_a_point_or_the_frame(points: list[tuple[float, float]]) -> None:
    boxes = boxes_of(points, (20, 14))
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])
    assert not any(box.overlaps(Box(x, y, POINT, POINT)) for box in boxes for x, y in points)
    assert all(box.inside(FRAME) for box in boxes)


def test_points_that_are_well_apart_all_get_a_label() -> None:
    points = [(40.0 + 60 * place, 170.0) for place in range(8)]
    assert len(boxes_of(points, (20, 14))) == 8


def test_a_stroke_is_avoided_where_there_is_room() -> None:
    stroke = Box(110, 185, 30, 25)
    (shift,) = place_labels([(20, 14)], Canvas(FRAME, ((90.0, 170.0),), (stroke,)))
    assert shift is not None
    assert not Box(90 + shift[0], 170 + shift[1], 10, 7).overlaps(stroke)
