"""A site's labels are learned beside the old classes, which stay what they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes_site import WIDTH, draw_classifier, draw_replay, draw_site

from ruichat.align.adaptation.head import HeadConfig, fit_site_head
from ruichat.align.adaptation.scores import ScoreConfig, learning_curve, score_tiles
from ruichat.errors import ArtifactError, ConfigError
from ruichat.features.tile_classifier import SiteHead, TileClassifier
from ruichat.histology import KEYS


def test_new_labels_are_learned_and_old_classes_are_kept() -> None:
    classifier, site, replay = draw_classifier(), draw_site(), draw_replay()
    rows = np.flatnonzero(~site.test)
    before = score_tiles(classifier, site, replay)
    after = score_tiles(fit_site_head(classifier, site, rows, replay, HeadConfig()), site, replay)
    assert before.labels is None and before.old is not None and before.old > 0.95
    assert after.labels is not None and after.labels > 0.95
    assert after.classes > 0.95 > before.classes + 0.3
    assert after.old is not None and after.old > 0.95
    assert after.known > before.known


def test_without_rehearsal_the_old_classes_are_forgotten() -> None:
    classifier, site, replay = draw_classifier(), draw_site(), draw_replay()
    rows = np.flatnonzero(~site.test)
    alone = fit_site_head(classifier, site, rows, None, HeadConfig())
    weightless = fit_site_head(classifier, site, rows, replay, HeadConfig(rehearsal=0))
    for forgetful in (alone, weightless):
        old = score_tiles(forgetful, site, replay).old
        assert old is not None and old < 0.3


def test_old_rows_do_not_move_and_the_fit_depends_on_the_data_alone() -> None:
    classifier, site, replay = draw_classifier(), draw_site(), draw_replay()
    rows = np.flatnonzero(~site.test)
    one, other = (fit_site_head(classifier, site, rows, replay, HeadConfig()) for _ in range(2))
    np.testing.assert_array_equal(one.weight, classifier.weight)
    np.testing.assert_array_equal(one.bias, classifier.bias)
    assert one.site is not None and other.site is not None
    np.testing.assert_array_equal(one.site.weight, other.site.weight)


def test_what_labels_get_counts_for_their_classes() -> None:
    site, replay = draw_site(), draw_replay()
    fitted = fit_site_head(
        draw_classifier(), site, np.flatnonzero(~site.test), replay, HeadConfig()
    )
    classes = fitted.class_probabilities(site.embeddings)
    assert classes.shape == (len(site.label), len(KEYS))
    np.testing.assert_allclose(classes.sum(1), 1, atol=1e-5)


def test_a_head_survives_its_file(tmp_path: Path) -> None:
    site, replay = draw_site(), draw_replay()
    rows = np.flatnonzero(~site.test)
    fitted = fit_site_head(draw_classifier(), site, rows, replay, HeadConfig())
    fitted.save(tmp_path / "tiles.safetensors")
    loaded = TileClassifier.load(tmp_path / "tiles.safetensors")
    assert loaded.site is not None and loaded.site.labels == site.labels
    np.testing.assert_array_equal(
        loaded.class_probabilities(site.embeddings), fitted.class_probabilities(site.embeddings)
    )


def test_the_curve_rises_and_its_controls_stay_low() -> None:
    classifier, site, replay = draw_classifier(), draw_site(noise=2.5), draw_replay()
    config = ScoreConfig(per_label=(3, 40, 10_000), draws=2)
    points = learning_curve(classifier, site, replay, config, HeadConfig())
    assert [point.per_label for point in points] == [3, 40]
    assert points[1].labels > points[0].labels
    assert points[1].labels > points[1].shuffled + 0.2
    assert points[1].labels > points[1].colour + 0.2
    assert points[1].low <= points[1].labels <= points[1].high


@pytest.mark.parametrize("parent", [[0, len(KEYS)], [-1, 0]])
def test_a_head_that_can_not_be_right_is_refused(parent: list[int]) -> None:
    with pytest.raises(ArtifactError, match="head of site 'x'"):
        SiteHead(
            "x",
            ("a", "b"),
            np.zeros((2, WIDTH), np.float32),
            np.zeros(2, np.float32),
            np.array(parent, np.int64),
        )


def test_a_seed_that_nothing_can_be_drawn_with_is_refused() -> None:
    with pytest.raises(ConfigError, match="scores has wrong settings: seed"):
        ScoreConfig.checked({"seed": -1}, source="scores")
