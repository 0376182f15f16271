"""CSV as spreadsheets and pandas write it."""

from __future__ import annotations

from io import BufferedReader, BytesIO

import pytest

from flowlane.simulation.csv_rows import normal, read_rows

PLAIN = "src,dst,rate,start\n10.0.0.1,::2,5Mbit/s,1.5\n"
ROW = {"src": "10.0.0.1", "dst": "::2", "rate": "5Mbit/s", "start": "1.5"}


def rows(data: bytes | str) -> list[tuple[int, dict[str, str]]]:
    raw = data if isinstance(data, bytes) else data.encode()
    return list(read_rows(BufferedReader(BytesIO(raw))))


FORMS = {
    "plain": PLAIN,
    "byte-order mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "UTF-16": PLAIN.replace(",", "\t").encode("utf-16"),
    "blanks": PLAIN.replace(",", ", ").replace("\n", " \n"),
    "semicolons and decimal commas": PLAIN.replace(",", ";").replace("1.5", "1,5"),
    "bars": PLAIN.replace(",", "|"),
    "carriage returns": PLAIN.replace("\n", "\r\n"),
    "quotes": '"src","dst","rate","start"\n"10.0.0.1","::2","5Mbit/s","1.5"\n',
    "names in capitals": PLAIN.replace("src,dst", "SRC,Dst"),
    "empty cells at the end": "src,dst,rate,start,,\n10.0.0.1,::2,5Mbit/s,1.5,,\n,,,,,\n\n",
    "an index without a name": ",src,dst,rate,start\n0,10.0.0.1,::2,5Mbit/s,1.5\n",
    "empty values": "src,dst,rate,start,vlan,dscp\n10.0.0.1,::2,5Mbit/s,1.5,NaN,N/A\n",
    "the header again": PLAIN + "src,dst,rate,start\n",
}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_the_form_does_not_change_what_is_read(data: bytes | str) -> None:
    (_, header), row = rows(data)
    assert set(ROW) <= set(header)
    assert row == (2, ROW)


def test_a_declared_delimiter_counts_and_so_does_its_line() -> None:
    assert rows("sep=;\n" + PLAIN.replace(",", ";"))[1:] == [(3, ROW)]


def test_values_that_look_like_nothing_are_names_of_vms() -> None:
    assert rows("vm,src\nnone,-\n")[1:] == [(2, {"vm": "none"})]


def test_more_values_than_names_are_an_error() -> None:
    with pytest.raises(ValueError, match="line 3: more values than the header has fields"):
        rows(PLAIN + "1,2,3,4,5\n")


def test_an_empty_file_has_an_empty_header() -> None:
    assert rows("") == [(1, {})]


@pytest.mark.parametrize("name", ["Src Port", "src-port", " src_port ", "SRC/PORT"])
def test_names_of_columns_are_normalized(name: str) -> None:
    assert normal(name) == "src_port"
