"""Picture files as training and evaluation read them: what the host's LoadImage makes of the same file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from x2edit_core.data.picture_files import as_png, opened
from x2edit_core.evaluate.cases import decoded, decoded_mask

from ..core.picture_zoo import HEIGHT, WIDTH, mirrored, zoo

WITHIN = 2 / 255 + 1e-6
PLACEHOLDER = (64, 64)


@pytest.fixture(scope="module")
def load(pack):
    """(picture [H, W, 3], mask [h, w]) of the first picture in a file, by the host."""
    import folder_paths

    folder = Path(folder_paths.get_input_directory())
    folder.mkdir(exist_ok=True)

    def run(name, data):
        (folder / name).write_bytes(data)
        images, masks = pack.run("LoadImage", image=name)
        return images[0].float().numpy(), masks[0].float().numpy()

    return run


@pytest.mark.parametrize("name", sorted(zoo()))
def test_a_file_is_read_as_the_host_reads_it(load, name):
    data = zoo()[name]
    expected, transparent = load(name, data)
    found = decoded(data, name)[0].numpy()
    assert found.shape == expected.shape and {HEIGHT, WIDTH} == set(found.shape[:2])
    assert np.abs(found - expected).max() <= WITHIN
    picture = opened(data)
    assert picture.mode in ("L", "LA", "RGB", "RGBA")
    if transparent.shape == PLACEHOLDER or not (transparent > WITHIN).any():
        assert "A" not in picture.getbands() or picture.getchannel("A").getextrema() == (255, 255)
    else:
        assert np.abs(decoded_mask(data, name)[0].numpy() - transparent).max() <= WITHIN


@pytest.mark.parametrize("name", sorted(mirrored()))
def test_a_mirrored_file_goes_to_any_host_as_it_is_scored(load, name):
    """Some hosts drop the mirror: what an evaluation uploads says nothing that could be misread."""
    data = mirrored()[name]
    found = decoded(data, name)[0].numpy()
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"), np.float32) / 255
    assert np.array_equal(found, upright)
    assert np.abs(load(f"{name}.png", as_png(data))[0] - upright).max() <= 0.5 / 255


@pytest.mark.parametrize("name", ["alpha.png", "palette transparent.gif", "16 bits.tif", "inks.jpg", "grey alpha.png"])
def test_what_is_uploaded_is_what_is_scored(load, name):
    """The picture and its transparency, for workflows that take the mask from there."""
    picture, transparent = load(f"{name}.png", as_png(zoo()[name]))
    assert np.abs(picture - decoded(zoo()[name], name)[0].numpy()).max() <= 1.01 / 255
    bands = opened(zoo()[name]).getbands()
    assert ("A" in bands) == (transparent.shape != PLACEHOLDER)
