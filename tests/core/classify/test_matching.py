"""The words of the language, against the tables of the standards."""

from ipaddress import ip_address

import pytest

from flowlane.core.classify.matching import MatchError, read_match, specificity
from flowlane.core.policy import Match


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Match()),
        ({"ethertype": "ipv4"}, Match(eth_types=(0x0800,))),
        ({"ethertype": ["ARP", "0x88f7", 35020]}, Match(eth_types=(0x0806, 0x88F7, 0x88CC))),
        ({"vlan": [5, "100-199"]}, Match(vlans=((5, 5), (100, 199)))),
        ({"protocol": ["tcp", 47, "sctp"]}, Match(protocols=(6, 47, 132))),
        ({"protocol": ["tcp", 6, "TCP"]}, Match(protocols=(6,))),
        ({"src": "10.1.2.3"}, Match(src=((bytes([10, 1, 2, 3]), 32),))),
        ({"dst": "10.0.0.0/8"}, Match(dst=((bytes([10, 0, 0, 0]), 8),))),
        ({"dst": "2001:db8::/32"}, Match(dst=((ip_address("2001:db8::").packed, 32),))),
        (
            {"src-port": "1000 - 2000", "dst-port": 80},
            Match(src_ports=((1000, 2000),), dst_ports=((80, 80),)),
        ),
        ({"dscp": "8-11"}, Match(dscp=(8, 9, 10, 11))),
        ({"pcp": [7, "5-6"]}, Match(pcp=(7, 5, 6))),
    ],
)
def test_reads(fields: dict[str, int | list[int | str] | str], expected: Match) -> None:
    assert read_match(fields) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        # RFC 2474 4.2.2 (class selectors), RFC 2597 6 (AF), RFC 3246 (EF), RFC 5865 (VA), RFC 8622 (LE)
        ("cs1", 0b001000), ("cs6", 0b110000), ("af11", 0b001010), ("af12", 0b001100), ("af13", 0b001110),
        ("af21", 0b010010), ("af31", 0b011010), ("af43", 0b100110), ("ef", 0b101110), ("va", 0b101100), ("le", 1),
    ],
)  # fmt: skip
def test_code_points_are_those_of_the_standards(name: str, value: int) -> None:
    assert read_match({"dscp": name}).dscp == (value,)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ethertype": "ipx"}, "'ipx' is not an ethertype"),
        ({"ethertype": 65536}, "65536 is not an ethertype"),
        ({"vlan": 4096}, "4096 is not a VLAN id"),
        ({"vlan": "10-4096"}, "'10-4096' is not a VLAN id"),
        ({"protocol": 256}, "256 is not an IP protocol"),
        ({"protocol": True}, "True is not an IP protocol"),
        ({"src": "10.0.0.256"}, "'10.0.0.256' is not an address prefix"),
        ({"src": "10.0.0.1/8"}, "'10.0.0.1/8' has bits set after its prefix"),
        ({"src": 5}, "5 is not an address prefix"),
        ({"dst-port": "200-100"}, "the range '200-100' is reversed"),
        ({"dst-port": -1}, "-1 is not a port"),
        ({"dst-port": "80,443"}, "'80,443' is not a port"),
        ({"dst-port": None}, "None is not a port"),
        ({"dscp": 64}, "64 is not a DSCP"),
        ({"dscp": "af44"}, "'af44' is not a DSCP"),
        ({"pcp": 8}, "8 is not a PCP"),
        ({"port": 1}, "'port' cannot be matched"),
    ],
)
def test_refuses(fields: dict[str, int | str | None], message: str) -> None:
    with pytest.raises(MatchError) as caught:
        read_match(fields)
    assert str(caught.value) == message
    assert caught.value.remedy


def test_says_which_item_of_a_list() -> None:
    with pytest.raises(MatchError) as caught:
        read_match({"dst-port": [1, 2, "x"]})
    assert caught.value.place == 2


def test_of_two_matches_the_one_that_asks_for_more_is_more_specific() -> None:
    given: tuple[dict[str, object], ...] = (
        {},
        {"dst-port": 80},
        {"protocol": "tcp", "dst-port": [80, 81]},
        {"src": "10.0.0.0/8", "pcp": 0, "vlan": 1},
    )
    assert [specificity(read_match(fields)) for fields in given] == [0, 1, 2, 3]
