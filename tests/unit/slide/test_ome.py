"""OME-XML: what it states is read, what it could hide is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruichat.slide.ome import MAX_BYTES, Ome, OmeError, is_ome, parse_ome

NAMESPACE = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'


def ome(inside: str, *, uuid: str = "urn:uuid:1", head: str = "") -> Ome:
    return parse_ome(f'{head}<OME {NAMESPACE} UUID="{uuid}">{inside}</OME>')


def pixels(attributes: str, inside: str = "") -> str:
    return f'<Image ID="Image:0"><Pixels {attributes}>{inside}</Pixels></Image>'


@pytest.mark.parametrize(
    ("attributes", "want"),
    [
        ('PhysicalSizeX="0.25" PhysicalSizeY="0.26"', (0.25, 0.26)),
        ('PhysicalSizeX="2.5e-1" PhysicalSizeXUnit="µm" PhysicalSizeY=".25"', (0.25, 0.25)),
        ('PhysicalSizeX="250" PhysicalSizeXUnit="nm" PhysicalSizeY="0.25"', (0.25, 0.25)),
        ('PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1"', None),
        ('PhysicalSizeX="0.25"', None),
        ('PhysicalSizeX="0.2.5" PhysicalSizeY="..."', None),
        ('PhysicalSizeX="-1" PhysicalSizeY="nan"', None),
        ('PhysicalSizeX="inf" PhysicalSizeY="inf"', None),
    ],
)
def test_a_resolution_counts_only_if_both_sides_are_stated(
    attributes: str, want: tuple[float, float] | None
) -> None:
    (image,) = ome(pixels(attributes)).images
    assert image.mpp == pytest.approx(want) if want else image.mpp is None


def test_each_image_has_its_own_resolution_and_size() -> None:
    scan = pixels('SizeX="900" SizeY="700" PhysicalSizeX="0.5" PhysicalSizeY="0.5"')
    label = pixels('SizeX="90" SizeY="70"')
    found = ome(f'<Instrument><Objective NominalMagnification="20"/></Instrument>{scan}{label}')
    assert [image.size for image in found.images] == [(900, 700), (90, 70)]
    assert [image.mpp for image in found.images] == [(0.5, 0.5), None]
    assert found.objective == 20


def test_channels_planes_and_files_are_counted() -> None:
    (image,) = ome(
        pixels(
            'SizeC="2" SizeZ="7" SizeT="3" SignificantBits="12"',
            '<Channel Name="DAPI" EmissionWavelength="460"/><Channel Name="FITC"/>'
            '<TiffData><UUID FileName="b.ome.tif"> urn:uuid:2 </UUID></TiffData>',
        )
    ).images
    assert image.samples == (1, 1) and image.channel_names == ("dapi", "fitc")
    assert (image.num_z, image.num_t, image.significant_bits) == (7, 3, 12)
    assert image.is_fluorescence and image.other_files


def test_planes_of_this_file_are_not_of_others() -> None:
    inside = '<TiffData><UUID FileName="renamed.ome.tif">urn:uuid:1</UUID></TiffData>'
    assert not ome(pixels('SizeC="1"', inside)).images[0].other_files


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE OME SYSTEM "file:///etc/passwd">',
        '<!DOCTYPE OME [<!ENTITY a "aaaaaaaaaa">]>',
        '<!DOCTYPE OME [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        "<!DOCTYPE OME>",
    ],
)
def test_document_types_and_entities_are_refused(head: str) -> None:
    with pytest.raises(OmeError, match="declares a document type"):
        ome(pixels(""), head=head)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<OME><Image></OME>", "damaged"),
        ("<OME>&boom;</OME>", "damaged"),
        (f"<OME>{' ' * MAX_BYTES}</OME>", "bytes long"),
    ],
)
def test_damaged_and_endless_xml_is_refused(text: str, words: str) -> None:
    with pytest.raises(OmeError, match=words):
        parse_ome(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_ome(text)
    except OmeError as error:
        assert str(error)


def test_ome_xml_is_told_by_its_end() -> None:
    assert is_ome("<?xml?><OME></OME>\n\0") and is_ome("<ome:OME></ome:OME>")
    assert not is_ome("Aperio Image Library") and not is_ome("ImageJ=1.53")
