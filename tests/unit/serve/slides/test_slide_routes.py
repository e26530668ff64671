"""What the viewer asks for, through the whole application."""

from __future__ import annotations

import os
import signal

import pytest
import simplejpeg
from drawn import write_pyramid
from house import PICTURE, write_jpeg_pyramid

from ruichat.storage.database import slides as rows


@pytest.fixture
def shown(served):
    """A slide that the client's user may see: client, id, house."""
    house, client = served
    return client, house.add(write_jpeg_pyramid(house.folder / "a.tif"), stain="HE"), house


def test_a_viewer_learns_what_it_needs(shown):
    client, slide_id, _ = shown
    info = client.get(f"/slides/{slide_id}/info").json()
    assert (info["width0"], info["height0"], info["mpp"]) == (900, 700, 0.5)
    assert (info["tile_px"], info["num_levels"], info["magnification"]) == (256, 11, 20.0)
    assert (info["stain"], info["needs_mpp"], info["mpp_source"]) == ("HE", False, "file")
    assert "a.tif" not in str(info), "no path leaves the server"


def test_every_tile_that_the_info_promises_is_there(shown):
    client, slide_id, _ = shown
    for level in range(11):
        size = [-(-side // 2 ** (10 - level)) for side in (900, 700)]
        columns, rows_ = (-(-side // 256) for side in size)
        for column in range(columns):
            for row in range(rows_):
                answer = client.get(f"/slides/{slide_id}/tiles/{level}/{column}_{row}.jpg")
                assert answer.headers["content-type"] == "image/jpeg"
                height, width = simplejpeg.decode_jpeg(answer.content).shape[:2]
                assert width == min(256, size[0] - 256 * column)
                assert height == min(256, size[1] - 256 * row)
        assert client.get(f"/slides/{slide_id}/tiles/{level}/{columns}_0.jpg").status_code == 404
    assert client.get(f"/slides/{slide_id}/tiles/11/0_0.jpg").status_code == 404


def test_what_a_client_has_is_not_sent_again(shown):
    client, slide_id, _ = shown
    for path in (f"/slides/{slide_id}/tiles/9/0_0.jpg", f"/slides/{slide_id}/thumbnail.jpg"):
        first = client.get(path)
        tag = first.headers["etag"]
        assert first.headers["cache-control"].startswith("private")
        assert "Cookie" in first.headers["vary"]
        for given in (tag, f'"other", W/{tag}', "*"):
            again = client.get(path, headers={"If-None-Match": given})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert client.get(path, headers={"If-None-Match": '"other"'}).content == first.content
        head = client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) == len(first.content)
        part = client.get(path, headers={"Range": "bytes=0-5,1-3,2-2"})
        assert (part.status_code, part.content) == (200, first.content)
    missing = f"/slides/{slide_id}/tiles/9/99_0.jpg"
    assert client.get(missing, headers={"If-None-Match": "*"}).status_code == 404


def test_a_thumbnail_is_as_small_as_asked(shown):
    client, slide_id, _ = shown
    picture = client.get(f"/slides/{slide_id}/thumbnail.jpg?max_px=90").content
    assert simplejpeg.decode_jpeg(picture).shape == (70, 90, 3)
    for wrong in ("0", "9999", "x", "-1", ""):
        assert client.get(f"/slides/{slide_id}/thumbnail.jpg?max_px={wrong}").status_code == 422


def test_others_and_strangers_learn_nothing(shown, join, client, services):
    owner, slide_id, house = shown
    paths = [f"/slides/{slide_id}/{end}" for end in ("info", "tiles/9/0_0.jpg", "thumbnail.jpg")]
    for path in paths:
        assert owner.get(path).status_code == 200
    stranger = join(name="eve")
    for path in paths:
        assert stranger.get(path).status_code == 404
        assert client.get(path).status_code == 401
        never = path.replace(slide_id, "0" * 32)
        assert stranger.get(never).json() == stranger.get(path).json()
    with house.database.session() as session:
        rows.delete_slide(session, slide_id, user_id=house.user_id)
    assert owner.get(paths[0]).status_code == 404
    services.slide_access.forget_all()
    assert [owner.get(path).status_code for path in paths] == [404] * 3


@pytest.mark.parametrize(
    "path",
    [
        "/slides/{id}/tiles/9/0_0.jpg/../../../../info",
        "/slides/..%2f..%2fetc/info",
        "/slides/{id}/tiles/-1/0_0.jpg",
        "/slides/{id}/tiles/9/0_-1.jpg",
        "/slides/{id}/tiles/" + "9" * 5000 + "/0_0.jpg",
        "/slides/{id}/tiles/9/" + "9" * 30 + "_0.jpg",
        "/slides/{id}/tiles/9/0_0.png",
        "/slides/{id}/tiles/nine/0_0.jpg",
        "/slides/{id}%00/info",
        "/slides/" + "0" * 33 + "/info",
    ],
)
def test_odd_addresses_are_refused(shown, path):
    client, slide_id, _ = shown
    assert client.get(path.replace("{id}", slide_id)).status_code in (404, 422)


def test_a_damaged_slide_is_told_and_others_go_on(shown):
    client, slide_id, house = shown
    path = house.folder / "damaged.tif"
    path.write_bytes(write_pyramid(house.folder / "b.tif", PICTURE, mpp=0.5).read_bytes()[:5000])
    damaged = house.add(path)
    answer = client.get(f"/slides/{damaged}/info")
    assert answer.status_code == 422 and answer.json()["error"]["hint"]
    assert client.get(f"/slides/{damaged}/tiles/0/0_0.jpg").status_code == 422
    assert client.get(f"/slides/{slide_id}/tiles/0/0_0.jpg").status_code == 200


def test_a_slide_that_aborts_its_decoder_is_told_and_the_server_goes_on(shown, services):
    client, bad, house = shown
    good = house.add(write_jpeg_pyramid(house.folder / "b.tif"))
    read = services.library.read

    def read_with_an_abort(slide_id, work):
        def abort(slide):
            if slide_id == bad:
                os.kill(slide._reader._child._process.pid, signal.SIGABRT)
            return work(slide)

        return read(slide_id, abort)

    services.library.read = read_with_an_abort
    answer = client.get(f"/slides/{bad}/tiles/10/0_0.jpg")
    assert answer.status_code == 422 and "decoder" in answer.json()["error"]["message"]
    assert client.get(f"/slides/{bad}/info").json()["state"] == "failed"
    assert client.get(f"/slides/{bad}/tiles/10/1_0.jpg").status_code == 422
    for end in ("info", "tiles/10/0_0.jpg", "thumbnail.jpg"):
        assert client.get(f"/slides/{good}/{end}").status_code == 200
