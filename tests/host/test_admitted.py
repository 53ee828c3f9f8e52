"""Nodes given what other packs' nodes give: the same picture as from the host's own tensors, or words where a person looks."""

from __future__ import annotations

import threading
import urllib.parse

import pytest
import torch
from devkit.running import wait_for
from PIL import Image

from x2edit_core.workflow.client import Client
from x2edit_core.workflow.websocket import WebSocket

from .graphs import conditioning
from .runs import edit_graph, node

SIZE = (48, 80)
TEXT = conditioning(torch.randn(1, 4, 192), torch.randn(1, 192))
PICTURE = torch.rand(1, *SIZE, 3, generator=torch.Generator().manual_seed(5)).mul(255).round() / 255
EDIT = PICTURE.flip(2)
MASK = torch.zeros(1, *SIZE)
MASK[:, 10:30, 20:50] = 1.0
PICTURES = {
    "half": PICTURE.half(), "brain": PICTURE.bfloat16(), "double": PICTURE.double(), "bytes": (PICTURE * 255).byte(),
    "one": PICTURE[0], "strided": PICTURE.transpose(1, 2).contiguous().transpose(1, 2), "0-255": PICTURE * 255,
}  # fmt: skip
MASKS = {
    "half": MASK.half(), "brain": MASK.bfloat16(), "double": MASK.double(), "bool": MASK.bool(), "bytes": (MASK * 255).byte(),
    "ones": MASK.byte(), "long": MASK.long(), "one": MASK[0], "first": MASK[:, None], "last": MASK[..., None],
}  # fmt: skip
PLACEHOLDERS = {
    "host's": torch.zeros(1, 64, 64),
    "half": torch.zeros(1, 64, 64).half(),
    "batch": torch.zeros(2, 64, 64),
}


@pytest.fixture(scope="module")
def models(pack):
    return pack.run("X2EditDemoModels", base="fill")


@pytest.fixture
def shown(pack, monkeypatch):
    """What is put on the node, one text after the other."""
    texts = []
    monkeypatch.setattr(pack.core("comfy_bridge.notices"), "_send", lambda node, text: texts.append(text))
    monkeypatch.setattr(pack.core("comfy_bridge.notices"), "_words", {})
    return texts


def layouts(pack, models):
    squashed = pack.run(
        "X2EditReference", conditioning=TEXT, vae=models[2], image=PICTURE, size="keep", width=96, height=64
    )
    return {"X2EditRestore": squashed[2], "ICEditCrop": pack.run("ICEditDiptych", image=PICTURE, width=64)[2]}


def finished(pack, models, node, edit=None, source=PICTURE, mask=MASK):
    """The node that ends an edit, on a picture of the size that was sampled."""
    layout = layouts(pack, models)[node]
    size = layout.target if node == "X2EditRestore" else layout.canvas
    made = pack.core("pixels").resize(EDIT, size) if edit is None else edit(pack.core("pixels").resize(EDIT, size))
    more = {"mask": mask} if node == "X2EditRestore" else {"edit_mask": mask, "stitch": "feathered"}
    return pack.run(node, image=made, layout=layout, source=source, **more)[0]


ENDS = ["X2EditRestore", "ICEditCrop"]


@pytest.mark.parametrize("node", ENDS)
@pytest.mark.parametrize("kind", PICTURES)
def test_a_source_of_any_kind_comes_back_outside_the_mask(pack, models, node, kind):
    found = finished(pack, models, node, source=PICTURES[kind])
    assert found.dtype == torch.float32 and found.shape == PICTURE.shape
    corner = found[:, 40:, 60:] - PICTURE[:, 40:, 60:]
    assert corner.abs().max() <= (0.002 if kind == "brain" else 2.5e-4 if kind == "half" else 1e-6)
    assert (found - PICTURE)[:, 15:25, 25:45].abs().max() > 0.1, "the edit is inside"


@pytest.mark.parametrize("node", ENDS)
@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_of_any_kind_means_the_same(pack, models, node, kind):
    assert torch.equal(finished(pack, models, node, mask=MASKS[kind]), finished(pack, models, node))


@pytest.mark.parametrize("node", ENDS)
def test_half_precision_throughout_comes_back_in_half_precision(pack, models, node):
    found = finished(pack, models, node, lambda edit: edit.half(), PICTURE.half(), MASK.half())
    assert found.dtype == torch.float16
    assert torch.equal(found[:, 40:, 60:], PICTURE.half()[:, 40:, 60:])
    mixed = finished(pack, models, node, lambda edit: edit.half())
    assert mixed.dtype == torch.float32 and torch.equal(mixed[:, 40:, 60:], PICTURE[:, 40:, 60:])


@pytest.mark.parametrize("node", ENDS)
@pytest.mark.parametrize("kind", PLACEHOLDERS)
def test_an_empty_placeholder_is_no_mask_and_the_node_says_so(pack, models, shown, node, kind):
    found = finished(pack, models, node, mask=PLACEHOLDERS[kind])
    assert torch.equal(found, finished(pack, models, node, mask=None))
    assert (found - PICTURE).abs().max() > 0.1, "the edit is there"
    assert len(shown) == 1 and "counts as no mask" in shown[0]


@pytest.mark.parametrize("node", ENDS)
def test_a_mask_that_keeps_nothing_is_said(pack, models, shown, node):
    assert torch.equal(finished(pack, models, node, mask=torch.zeros(1, *SIZE)), PICTURE)
    assert "black everywhere" in shown[-1]


def test_several_notices_of_one_run_stand_below_each_other(pack, models, shown):
    wrong = PICTURE.clone()
    wrong[0, 0, 0] = torch.nan
    found = finished(pack, models, "X2EditRestore", source=wrong, mask=torch.zeros(1, 64, 64))
    assert found.isfinite().all()
    assert "no numbers" in shown[-1].splitlines()[0] and "counts as no mask" in shown[-1].splitlines()[1]


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_to_edit_of_any_kind(pack, models, kind):
    """In both families: the same reference, the same diptych, the same conditioning of it."""
    image = PICTURES[kind]
    within = {"atol": 0.02, "rtol": 0.02} if kind in ("half", "brain") else {"atol": 1e-4, "rtol": 1e-4}
    given = {"conditioning": TEXT, "vae": models[2], "size": "keep", "width": 96, "height": 64}
    for one, other in zip(*(pack.run("X2EditReference", image=i, **given) for i in (image, PICTURE)), strict=True):
        if isinstance(one, list):
            torch.testing.assert_close(one[0][1]["reference_latents"], other[0][1]["reference_latents"], **within)
        else:
            assert str(one) == str(other)
    canvases = [pack.run("ICEditDiptych", image=i, width=64) for i in (image, PICTURE)]
    assert canvases[0][0].dtype == canvases[0][1].dtype == (torch.float16 if kind == "half" else torch.float32)
    torch.testing.assert_close(canvases[0][0].float(), canvases[1][0], atol=0.004, rtol=0)
    conds = [
        pack.run("ICEditConditioning", clip=models[1], vae=models[2], diptych=c, mask=m, instruction="x")
        for c, m, _ in canvases
    ]
    torch.testing.assert_close(conds[0][0][0][1]["concat_mask"], conds[1][0][0][1]["concat_mask"])
    torch.testing.assert_close(conds[0][2]["samples"], conds[1][2]["samples"], atol=0.05, rtol=0.05)


@pytest.mark.parametrize("mask", [torch.zeros(1, 64, 64), torch.zeros(1, 32, 128).bool()])
def test_a_diptych_without_anything_to_paint_is_refused_before_the_run(pack, models, mask):
    canvas, *_ = pack.run("ICEditDiptych", image=PICTURE, width=64)
    with pytest.raises(ValueError, match=r"paint nothing\. Connect the mask of ICEdit Diptych"):
        pack.run("ICEditConditioning", clip=models[1], vae=models[2], diptych=canvas, mask=mask, instruction="x")


def test_sizes_that_cost_hours_are_said_on_the_node(pack, models, shown):
    tall = torch.full((1, 2000, 108, 3), 0.5)
    canvas, mask, layout = pack.run("ICEditDiptych", image=tall, width=512)
    assert layout.canvas.tokens <= pack.core("geometry").MOST_TOKENS and canvas.shape[1:3] == mask.shape[1:]
    assert "would take 37,888 tokens" in shown[-1]
    crop = pack.run("ICEditCrop", image=canvas, layout=layout)[0]
    assert crop.shape == tall.shape
    pack.run("X2EditReference", conditioning=TEXT, vae=models[2], image=tall, size="512 buckets")
    assert "squashed" in shown[-1]


@pytest.mark.parametrize("white", [0.0, 1.0])
def test_a_mask_over_everything_or_nothing_gives_a_score(pack, shown, white):
    value, report = pack.run(
        "X2EditScore", source=PICTURE, image=EDIT, instruction="", mask=torch.full((1, *SIZE), white)
    )
    assert value == value and "nan" not in report
    assert report.startswith("changed_inside" if white else "psnr_outside")


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_of_any_kind_score_alike(pack, kind):
    given = {"source": PICTURE, "image": PICTURES[kind], "instruction": "", "metric": "l1_source"}
    assert pack.run("X2EditScore", **given)[0] < (2e-3 if kind == "brain" else 2e-4)
    both = {"source": PICTURE, "image": EDIT, "instruction": "", "metric": "changed_outside"}
    expected = pack.run("X2EditScore", mask=MASK, **both)[0]
    for mask in MASKS.values():
        assert pack.run("X2EditScore", mask=mask, **both)[0] == expected


@pytest.mark.parametrize("node", ["X2EditReference", "ICEditDiptych", "X2EditScore"])
@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.rand(0, 8, 8, 3), "empty batch"),
        (PICTURE.movedim(-1, 1), "channels seem to come first"),
        (MASK, "channels"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(pack, models, node, image, words):
    more = {
        "X2EditReference": {"conditioning": TEXT, "vae": models[2], "size": "keep"},
        "ICEditDiptych": {"width": 64},
        "X2EditScore": {"source": PICTURE, "instruction": ""},
    }
    with pytest.raises(ValueError, match=words):
        pack.run(node, image=image, **more[node])


@pytest.mark.parametrize("samples", [torch.rand(1, 64, 30), torch.zeros(1, 16, 8, 8, dtype=torch.uint8), None])
def test_what_is_no_latent_is_refused_in_words(pack, models, samples):
    with pytest.raises(ValueError, match="`latent`"):
        pack.run("X2EditShift", model=models[0], latent={"samples": samples})


def test_the_words_reach_the_page_that_queued(server, tmp_path):
    """As the host sends texts of nodes: over the websocket, under the node's id; with LoadImage's own placeholder."""
    Image.radial_gradient("L").resize((96, 80)).convert("RGB").save(tmp_path / "plain.png")
    graph = edit_graph(steps=1)
    graph["source"] = node("LoadImage", image=server.upload_image(tmp_path / "plain.png"))
    graph["restore"] = node(
        "X2EditRestore", image=["decode", 0], layout=["reference", 2], source=["source", 0], mask=["source", 1]
    )
    graph["save"]["inputs"]["images"] = ["restore", 0]
    address, heard = urllib.parse.urlsplit(server.url), []
    page = WebSocket(address.hostname, address.port, "/ws?clientId=a-page")
    client = Client(server.url)
    client.client_id = "a-page"
    listener = threading.Thread(target=lambda: heard.extend(m for m in page.messages() if isinstance(m, bytes)))
    listener.start()
    try:
        assert client.run(graph).images
        wait_for(lambda: any(b"counts as no mask" in message for message in heard), 60)
    finally:
        page.close()
        listener.join(10)
    (told,) = [message for message in heard if b"counts as no mask" in message]
    assert b"restore" in told
