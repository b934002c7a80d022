from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import ModelError
from edgekit.graph import read_signature
from edgekit.graph.equivalence import difference, run_onnx
from edgekit.graph.proto import read_model
from edgekit.model import import_onnx, locate


def small(batch: object = "N", opset: int = 17, height: object = 6) -> onnx.ModelProto:
    """Conv, BatchNormalization, Relu, Flatten: x [batch, 2, height, 6] → y."""
    generator = np.random.default_rng(0)
    arrays = {
        "w": generator.standard_normal((4, 2, 3, 3)),
        "scale": generator.random(4) + 0.5,
        "bias": generator.standard_normal(4),
        "mean": generator.standard_normal(4),
        "var": generator.random(4) + 0.5,
    }
    weights = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in arrays.items()]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", doc_string="/home/somebody/net.py"),
        helper.make_node("BatchNormalization", ["c", "scale", "bias", "mean", "var"], ["b"]),
        helper.make_node("Relu", ["b"], ["r"]),
        helper.make_node("Flatten", ["r"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 2, height, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, None])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="somebody")
    model.ir_version = 8
    return model


def saved(folder: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, str(folder / "in.onnx"))
    return folder / "in.onnx"


@pytest.mark.parametrize("opset", [9, 11, 13, 17])
def test_imported_network_computes_the_same(tmp_path: Path, opset: int) -> None:
    import_onnx(saved(tmp_path, small(1, opset)), tmp_path / "out.onnx")
    x = np.random.default_rng(1).random((1, 2, 6, 6), dtype=np.float32)
    imported = read_model(tmp_path / "out.onnx")
    assert not difference(run_onnx(small(1, opset), (x,)), run_onnx(imported, (x,)))
    assert imported.opset_import[0].version == max(13, opset)


def test_batch_normalization_is_folded(tmp_path: Path) -> None:
    import_onnx(saved(tmp_path, small()), tmp_path / "out.onnx")
    nodes = read_model(tmp_path / "out.onnx").graph.node
    assert [node.op_type for node in nodes] == ["Conv", "Relu", "Flatten"]


@pytest.mark.parametrize("batch", ["N", None, 1])
def test_batch_becomes_one(tmp_path: Path, batch: object) -> None:
    signature = import_onnx(saved(tmp_path, small(batch)), tmp_path / "out.onnx")
    assert signature == read_signature(tmp_path / "out.onnx")
    assert signature.inputs[0].shape == (1, 2, 6, 6)
    assert signature.outputs[0].shape == (1, 64)


@pytest.mark.parametrize("opset", [22, 23])
def test_an_opset_above_what_runtimes_read_is_lowered(tmp_path: Path, opset: int) -> None:
    import_onnx(saved(tmp_path, small(1, opset)), tmp_path / "out.onnx")
    imported = read_model(tmp_path / "out.onnx")
    x = np.random.default_rng(1).random((1, 2, 6, 6), dtype=np.float32)
    assert imported.opset_import[0].version == 21
    assert not difference(run_onnx(small(1, opset), (x,)), run_onnx(imported, (x,)))


def test_an_output_without_a_shape_gets_one(tmp_path: Path) -> None:
    model = small()
    model.graph.output[0].type.tensor_type.ClearField("shape")
    signature = import_onnx(saved(tmp_path, model), tmp_path / "out.onnx")
    assert signature.outputs[0].shape == (1, 64)


def test_values_in_many_files_are_read_and_each_is_part_of_the_digest(tmp_path: Path) -> None:
    path = tmp_path / "in.onnx"
    onnx.save(small(), str(path), save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=0)
    files = sorted(file for file in tmp_path.iterdir() if file != path)
    assert len(files) == 5
    import_onnx(path, tmp_path / "out.onnx")
    digests = {locate(path).digest}
    for file in files:
        content = bytearray(file.read_bytes())
        content[0] ^= 1
        file.write_bytes(content)
        digests.add(locate(path).digest)
    assert len(digests) == 6


def test_paths_and_producers_are_left_out(tmp_path: Path) -> None:
    import_onnx(saved(tmp_path, small()), tmp_path / "out.onnx")
    assert b"somebody" not in (tmp_path / "out.onnx").read_bytes()


def test_importing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    source = saved(tmp_path, small())
    import_onnx(source, tmp_path / "a.onnx")
    import_onnx(source, tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_external_weights_are_taken_in_and_hashed(tmp_path: Path) -> None:
    path = tmp_path / "in.onnx"
    onnx.save(small(), str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    before = locate(path).digest
    import_onnx(path, tmp_path / "out.onnx")
    content = bytearray((tmp_path / "weights.bin").read_bytes())
    content[0] ^= 1
    (tmp_path / "weights.bin").write_bytes(content)
    assert locate(path).digest != before
    (tmp_path / "weights.bin").unlink()
    import_onnx(tmp_path / "out.onnx", tmp_path / "again.onnx")


def broken_type(model: onnx.ModelProto) -> None:
    model.graph.node[2].op_type = "NoSuchOperator"


def broken_wire(model: onnx.ModelProto) -> None:
    model.graph.node[2].input[0] = "nowhere"


def broken_shape(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w"))


@pytest.mark.parametrize("damage", [broken_type, broken_wire, broken_shape])
def test_a_file_that_fails_the_checker_is_told_in_one_line(tmp_path: Path, damage: object) -> None:
    model = small()
    assert callable(damage)
    damage(model)
    with pytest.raises(ModelError, match=r"in\.onnx fails the ONNX checker|cannot run in\.onnx") as caught:
        import_onnx(saved(tmp_path, model), tmp_path / "out.onnx")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"\x08\x08"])
def test_corrupt_files_are_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.onnx").write_bytes(content)
    with pytest.raises(ModelError, match="not a readable ONNX file") as caught:
        import_onnx(tmp_path / "in.onnx", tmp_path / "out.onnx")
    assert "\n" not in str(caught.value)


def test_a_file_cut_short_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path, small())
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ModelError):
        import_onnx(path, tmp_path / "out.onnx")


def test_a_fixed_batch_above_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has a fixed batch of 4; allowed: a batch of 1, or a dynamic batch"):
        import_onnx(saved(tmp_path, small(4)), tmp_path / "out.onnx")


def test_another_dynamic_dimension_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"dimension 2 of input 'x' is dynamic \(H\)"):
        import_onnx(saved(tmp_path, small(1, 17, "H")), tmp_path / "out.onnx")


def test_an_absent_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        import_onnx(tmp_path / "absent.onnx", tmp_path / "out.onnx")
