"""Drawn phantoms: same seed, same pixels; and truth that agrees with itself."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from ruichat.histology import CLASSES, MALIGNANT
from ruichat.slide.phantom import (
    ALL_ARTEFACTS,
    CLASS_INDEX,
    NO_TISSUE,
    NUCLEUS_KINDS,
    PHANTOM_CLASSES,
    Phantom,
    PhantomConfig,
    draw_phantom,
)


def small(**fields: object) -> PhantomConfig:
    return PhantomConfig.model_validate({"width0": 700, "height0": 520, "region_mm": 0.15} | fields)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return draw_phantom(small(seed=5))


def test_same_config_gives_same_pixels_and_truth(phantom: Phantom) -> None:
    again = draw_phantom(small(seed=5))
    assert np.array_equal(again.rgb, phantom.rgb)
    assert np.array_equal(again.classes, phantom.classes)
    assert np.array_equal(again.nuclei.xy0, phantom.nuclei.xy0)
    assert again.areas_mm2 == phantom.areas_mm2


def test_other_seed_gives_another_slide(phantom: Phantom) -> None:
    other = draw_phantom(small(seed=6))
    assert np.mean(other.classes != phantom.classes) > 0.2


def test_areas_add_up_to_the_mask(phantom: Phantom) -> None:
    pixel_mm2 = 0.25e-6
    tissue = np.count_nonzero(phantom.classes != NO_TISSUE) * pixel_mm2
    assert sum(phantom.areas_mm2.values()) == pytest.approx(tissue)
    for key, area in phantom.areas_mm2.items():
        assert np.count_nonzero(phantom.classes == CLASS_INDEX[key]) * pixel_mm2 == pytest.approx(
            area
        )


def test_class_indices_are_those_of_the_shared_list() -> None:
    assert all(CLASSES[index].key == key for key, index in CLASS_INDEX.items())


def test_glass_is_bright_and_tissue_is_stained(phantom: Phantom) -> None:
    glass = phantom.rgb[phantom.classes == NO_TISSUE]
    assert glass.min(axis=1).mean() > 205
    solid = np.isin(phantom.classes, [CLASS_INDEX["stroma"], CLASS_INDEX["lymphoid_tissue"]])
    green = phantom.rgb[..., 1]
    assert green[solid].mean() < glass[:, 1].mean() - 40


def test_nuclei_lie_on_tissue_and_absorb_red_light() -> None:
    drawn = draw_phantom(small(seed=2, randomise=False, fill=True, mix={"lymphoid_tissue": 1}))
    x, y = np.floor(drawn.nuclei.xy0).astype(int).T
    assert (drawn.classes[y, x] != NO_TISSUE).all()
    red = drawn.rgb[..., 0].astype(float)
    assert red[y, x].mean() < red.mean() - 15


def test_mitoses_are_counted_from_the_nuclei() -> None:
    drawn = draw_phantom(
        PhantomConfig(seed=1, width0=900, height0=900, fill=True, mix={"carcinoma_nests": 1})
    )
    assert drawn.mitoses == np.count_nonzero(drawn.nuclei.kind == NUCLEUS_KINDS.index("mitosis"))
    assert drawn.mitoses > 0


def test_phantom_without_tumour_shows_none() -> None:
    healthy = {key: 1.0 for key in PHANTOM_CLASSES if key not in MALIGNANT}
    drawn = draw_phantom(small(seed=3, mix=healthy))
    malignant = [CLASS_INDEX[key] for key in PHANTOM_CLASSES if key in MALIGNANT]
    assert not np.isin(drawn.classes, malignant).any()
    kinds = {NUCLEUS_KINDS[kind] for kind in np.unique(drawn.nuclei.kind)}
    assert not kinds & {"tumour", "mitosis"}
    assert drawn.mitoses == 0


@pytest.mark.parametrize("key", PHANTOM_CLASSES)
def test_filled_field_is_of_the_one_class_asked_for(key: str) -> None:
    drawn = draw_phantom(
        PhantomConfig.model_validate(
            {"seed": 4, "width0": 448, "height0": 448, "fill": True, "mix": {key: 1}}
        )
    )
    share = np.mean(drawn.classes == CLASS_INDEX[key])
    assert share > 0.75
    assert set(np.unique(drawn.classes)) <= {CLASS_INDEX[key], CLASS_INDEX["stroma"]}


def test_mix_is_kept_roughly() -> None:
    drawn = draw_phantom(
        PhantomConfig(
            seed=9, width0=1600, height0=1600, region_mm=0.12, fill=True, mix={"fat": 3, "mucus": 1}
        )
    )
    assert drawn.areas_mm2["fat"] / sum(drawn.areas_mm2.values()) == pytest.approx(0.75, abs=0.08)


@pytest.mark.parametrize("mpp", [0.25, 0.5, 1.0])
def test_nuclear_density_per_mm2_does_not_depend_on_resolution(mpp: float) -> None:
    side = round(400 / mpp)
    drawn = draw_phantom(
        PhantomConfig(
            seed=1,
            width0=side,
            height0=side,
            mpp=mpp,
            fill=True,
            randomise=False,
            mix={"carcinoma_nests": 1},
        )
    )
    tumour = np.count_nonzero(drawn.nuclei.kind == NUCLEUS_KINDS.index("tumour"))
    assert 2500 < tumour / 0.16 < 7500


@pytest.mark.parametrize("kind", ALL_ARTEFACTS)
def test_artefact_changes_pixels_where_its_mask_says(kind: str) -> None:
    clean = draw_phantom(small(seed=8, randomise=False))
    marked = draw_phantom(small(seed=8, randomise=False, artefacts=(kind,)))
    where = marked.artefacts == 1 << ALL_ARTEFACTS.index(kind)
    assert where.any()
    assert np.array_equal(marked.classes, clean.classes)
    change = np.abs(marked.rgb.astype(int) - clean.rgb).mean(axis=2)
    where &= marked.classes != NO_TISSUE if kind in ("fold", "stain_shift") else True
    assert change[where].mean() > 1.6 * change[~where].mean()


def test_clean_phantom_has_no_artefact(phantom: Phantom) -> None:
    assert not phantom.artefacts.any()


@pytest.mark.parametrize("mix", [{}, {"fat": 0.0}, {"fat": -1.0, "mucus": 2.0}, {"cartilage": 1}])
def test_impossible_mix_is_refused(mix: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        PhantomConfig.model_validate({"mix": mix})
