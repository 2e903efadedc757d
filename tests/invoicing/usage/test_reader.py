"""Reading FOCUS files (USE-01, USE-02): what is good is read, what is not is named with its line."""

import gzip
import io
import zipfile
from decimal import Decimal

import pytest

from invoicing.focus.columns import MANDATORY
from invoicing.focus.errors import FileRefused
from invoicing.focus.reader import FocusReader, RejectedLine
from invoicing.focus.rows import STAGED_FIELDS, RowParser
from invoicing.focus.source import LONGEST_LINE, FocusSource
from tests.invoicing.usage.focus_files import HEADER, focus_csv, numbered, row, small_file


def read(content: bytes, **options):
    """The rows by field name, the rejected lines, and the reader."""
    reader = FocusReader(FocusSource(io.BytesIO(content)), **options)
    rows = list(reader)
    good = [dict(zip(STAGED_FIELDS, item, strict=True)) for item in rows if isinstance(item, list)]
    return good, [item for item in rows if isinstance(item, RejectedLine)], reader


def codes(rejected):
    return [(line.line_number, [problem.code for problem in line.problems]) for line in rejected]


@pytest.mark.parametrize(
    ("name", "version", "rows", "total"),
    [
        ("focus_1_0.csv", "1.0", 6, "4.2500000005"),
        ("focus_1_1.csv", "1.1", 3, "3.600001"),
        ("focus_1_2.csv", "1.2", 2, "12.0075"),
    ],
)
def test_use_01_reads_each_version(name, version, rows, total):
    good, rejected, reader = read(small_file(name))
    assert reader.version == version
    assert rejected == []
    assert len(good) == rows
    assert sum(Decimal(found["billed_cost"]) for found in good) == Decimal(total)


ENCODINGS = {
    "utf-8": lambda text: text.encode(),
    "utf-8 with a byte order mark": lambda text: text.encode("utf-8-sig"),
    "utf-16 little endian": lambda text: b"\xff\xfe" + text.encode("utf-16-le"),
    "utf-16 big endian": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "utf-32": lambda text: text.encode("utf-32"),
    "gzip": lambda text: gzip.compress(text.encode()),
    "gzip of utf-16": lambda text: gzip.compress(text.encode("utf-16")),
    "windows line ends": lambda text: text.replace("\n", "\r\n").encode(),
    "no newline at the end": lambda text: text.rstrip("\n").encode(),
}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_use_01_reads_each_encoding_alike(encode):
    text = focus_csv([row(ServiceName="Zürich – Büro"), row(BilledCost="2.25")]).decode()
    expected, _, _ = read(text.encode())
    good, rejected, _ = read(encode(text))
    assert rejected == []
    assert good == expected
    assert good[0]["service_name"] == "Zürich – Büro"


def test_use_01_columns_by_name_in_any_order_and_spelling():
    first, _, _ = read(focus_csv([row()]))
    turned, _, reader = read(focus_csv([row()], header=list(reversed(HEADER))))
    assert turned == first
    snake = "billed_cost,Billing Account Id,billingcurrency"
    text = focus_csv([row()]).decode().replace("BilledCost,BillingAccountId,BillingCurrency", snake)
    spelled, _, reader = read(text.encode())
    assert spelled == first
    assert reader.header[:3] == ["BilledCost", "BillingAccountId", "BillingCurrency"]


def test_use_01_null_and_empty_alike_and_extra_columns_kept():
    header = [*HEADER, "ChargeClass", "EffectiveCost", "x_Team"]
    good, _, _ = read(
        focus_csv([row(ChargeClass="NULL", EffectiveCost="NULL", x_Team="NULL"), row()], header)
    )
    assert good[0]["row_hash"] == good[1]["row_hash"]
    assert good[0]["charge_class"] == good[0]["effective_cost"] == ""
    assert good[0]["extra"] == "{}"
    good, _, _ = read(focus_csv([row(x_Team="Blue")], header))
    assert good[0]["extra"] == '{"x_Team":"Blue"}'


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2024-09-18 22:00:00", "2024-09-18 22:00:00+00:00"),
        ("2024-09-18T22:00:00Z", "2024-09-18 22:00:00+00:00"),
        ("2024-09-18T22:00:00.250Z", "2024-09-18 22:00:00.250000+00:00"),
        ("2024-09-18 22:00:00 UTC", "2024-09-18 22:00:00+00:00"),
        ("2024-09-19T01:00:00+03:00", "2024-09-18 22:00:00+00:00"),
        ("2024-09-18T17:30:00-0430", "2024-09-18 22:00:00+00:00"),
        ("2024-09-18", "2024-09-18 00:00:00+00:00"),
    ],
)
def test_use_01_timestamps_with_and_without_zone(given, kept):
    good, rejected, _ = read(focus_csv([row(ChargePeriodStart=given, ChargePeriodEnd="2024-09-20")]))
    assert rejected == []
    assert good[0]["charge_period_start"] == kept
    assert good[0]["charge_date"] == kept[:10]


@pytest.mark.parametrize(
    ("given", "kept"),
    [("1.50", "1.5"), ("-0.10", "-0.1"), ("0", "0"), ("-0.0", "0"), ("007.10", "7.1"), ("1E-11", "0.00000000001"),
     (" 3 ", "3"), ("+2.5", "2.5"), ("999999999999999.123456789012345", "999999999999999.123456789012345"),
     ("1.1000000000000000000", "1.1"), ("100", "100"), (".5", "0.5")],
)  # fmt: skip
def test_use_01_amounts_are_kept_exactly(given, kept):
    good, rejected, _ = read(focus_csv([row(BilledCost=given)]))
    assert rejected == []
    assert good[0]["billed_cost"] == kept


def test_use_01_numbers_for_information_may_have_any_number_of_decimals():
    header = [*HEADER, "PricingQuantity"]
    good, rejected, _ = read(focus_csv([row(PricingQuantity="0.00026881720430107527")], header))
    assert rejected == []
    assert good[0]["pricing_quantity"] == "0.000268817204301"
    assert good[0]["extra"] == '{"PricingQuantity":"0.00026881720430107527"}'


BAD_VALUES = [
    ("BilledCost", "NaN", "amount_not_finite"),
    ("BilledCost", "Infinity", "amount_not_finite"),
    ("BilledCost", "-inf", "amount_not_finite"),
    ("BilledCost", "1e400", "amount_too_large"),
    ("BilledCost", "1e15", "amount_too_large"),
    ("BilledCost", "0.0000000000000001", "amount_too_precise"),
    ("BilledCost", "1,234.50", "invalid_amount"),
    ("BilledCost", "=1+1", "invalid_amount"),
    ("BilledCost", "", "missing_value"),
    ("BilledCost", "NULL", "missing_value"),
    ("BillingCurrency", "usd", "unknown_currency"),
    ("BillingCurrency", "XXX", "unknown_currency"),
    ("BillingCurrency", "", "missing_value"),
    ("ChargePeriodStart", "yesterday", "bad_timestamp"),
    ("ChargePeriodStart", "2024-02-30 00:00:00", "bad_timestamp"),
    ("ChargePeriodStart", "2024-09-18T25:00:00", "bad_timestamp"),
    ("ChargePeriodStart", "0001-01-01T00:00:00+14:00", "bad_timestamp"),
    ("ChargePeriodStart", "1200-01-01", "timestamp_out_of_range"),
    ("ChargePeriodEnd", "2024-09-09 00:00:00", "end_before_start"),
    ("BillingPeriodEnd", "2024-08-01", "end_before_start"),
    ("ServiceName", "   ", "missing_value"),
    ("ServiceName", "x" * 256, "too_long"),
    ("ProviderName", "A\0B", "nul_character"),
    ("Tags", "{not json", "bad_tags"),
    ("Tags", "[1, 2]", "bad_tags"),
    ("Tags", '{"a": NaN}', "bad_tags"),
    ("Tags", '{"a": "\\u0000"}', "bad_tags"),
    ("Tags", '{"a": "\\ud800"}', "bad_tags"),
    ("Tags", "[" * 100_000, "bad_tags"),
]


@pytest.mark.parametrize(
    ("column", "value", "code"), BAD_VALUES, ids=[f"{c}-{k}-{n}" for n, (c, _, k) in enumerate(BAD_VALUES)]
)
def test_use_02_a_malformed_row_is_refused_with_line_and_reason_and_the_others_are_read(column, value, code):
    good, rejected, _ = read(focus_csv([row(), row(**{column: value}), row(BilledCost="2")]))
    assert [found["line_number"] for found in good] == ["2", "4"]
    assert codes(rejected) == [(3, [code])]
    problem = rejected[0].problems[0]
    assert problem.column == column
    assert problem.detail.endswith((".", "…", "?", '"', "+00:00.")) and len(problem.detail) < 400


def test_use_02_every_problem_of_a_row_is_named():
    _, rejected, _ = read(focus_csv([row(BilledCost="NaN", BillingCurrency="ZZZ", Tags="x", ServiceName="")]))
    assert {problem.column for problem in rejected[0].problems} == {
        "BilledCost", "BillingCurrency", "Tags", "ServiceName",
    }  # fmt: skip
    assert rejected[0].values["BilledCost"] == "NaN"


def test_use_02_bytes_that_are_not_utf_8_refuse_the_row():
    content = focus_csv([row(), row(ServiceName="Caf\u00e9"), row(BilledCost="2")]).replace(
        "é".encode(), b"\xe9"
    )
    good, rejected, _ = read(content)
    assert len(good) == 2
    assert codes(rejected) == [(3, ["not_utf8"])]
    assert rejected[0].values["ServiceName"] == "Caf\ufffd" or rejected[0].values["ServiceName"] == "Caf?"


def test_use_02_currency_without_a_rate():
    good, rejected, _ = read(
        focus_csv([row(), row(BillingCurrency="ISK")]), convertible=frozenset({"USD", "EUR"}), into="USD"
    )
    assert len(good) == 1
    assert codes(rejected) == [(3, ["no_exchange_rate"])]
    assert "from ISK to USD" in rejected[0].problems[0].detail


def test_use_02_a_truncated_last_line_is_refused_and_the_rest_read():
    content = focus_csv(numbered(3))
    good, rejected, _ = read(content[:-60])
    assert len(good) == 2
    assert codes(rejected) == [(4, ["unterminated_quote"])] or codes(rejected) == [(4, ["wrong_field_count"])]


def test_use_02_a_cut_inside_of_a_quoted_value_is_named():
    content = focus_csv(numbered(2))[:-8]
    good, rejected, _ = read(content)
    assert len(good) == 1
    assert codes(rejected) == [(3, ["unterminated_quote"])]
    assert rejected[0].raw_text.startswith("0.01,4200")


def test_use_02_lines_swallowed_by_an_open_quote_are_read_again():
    lines = focus_csv(numbered(200)).decode().splitlines(keepends=True)
    lines[10] = lines[10].replace(",Cumulus,", ',"Cumulus,')
    good, rejected, _ = read("".join(lines).encode())
    assert len(good) == 199
    assert [line.line_number for line in rejected] == [11]
    assert rejected[0].raw_text == lines[10].rstrip("\n")


def test_use_02_line_numbers_are_those_of_an_editor():
    content = focus_csv([row(ChargeDescription="two\nlines"), row(BilledCost="x")])
    _, rejected, _ = read(content + b"\n\n" + focus_csv([row(BilledCost="y")]).split(b"\n", 1)[1])
    assert [line.line_number for line in rejected] == [4, 7]


def test_use_02_too_many_fields_are_named_and_kept():
    content = focus_csv([row()]).replace(b"VM hour", b"VM, hour")
    _, rejected, _ = read(content)
    assert codes(rejected) == [(2, ["wrong_field_count"])]
    assert rejected[0].values["Field 15"] == '{"business_unit": "Engineering"}'


def zipped(name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, "x")
    return out.getvalue()


REFUSED = {
    "empty": (b"", "empty_file", "empty"),
    "blank": (b"\n  \n\n", "empty_file", "no text"),
    "zip": (zipped("focus.csv"), "not_csv", "ZIP"),
    "excel": (zipped("xl/workbook.xml"), "not_csv", "Excel"),
    "pdf": (b"%PDF-1.7\n", "not_csv", "PDF"),
    "parquet": (b"PAR1\x15\x04", "not_csv", "Parquet"),
    "binary": (bytes(range(256)) * 4, "not_csv", "NUL"),
    "utf-16 without a mark": ("BilledCost,Tags\n".encode("utf-16-le"), "not_csv", "byte order mark"),
    "html": (b"<!doctype html><html>", "not_csv", "web page"),
    "json": (b'{"BilledCost": 1}', "not_csv", "JSON"),
    "text": (b"Dear all,\nhere is the bill.\n", "not_focus", "none of the columns"),
    "another csv": (b"date,amount\n2024-09-01,1\n", "not_focus", "date, amount"),
    "missing columns": (b"BilledCost,BillingCurrency\n1,USD\n", "not_focus", "ChargePeriodStart"),
    "column twice": (focus_csv([], [*HEADER, "billed_cost"]), "duplicate_column", "twice"),
    "nameless column": (focus_csv([], [*HEADER, ""]), "bad_header", "Column 15"),
    "long line": (focus_csv([]) + b"x" * (LONGEST_LINE + 1), "line_too_long", "Line 2"),
    "damaged gzip": (b"\x1f\x8b\x08\x00" + b"x" * 50, "bad_gzip", "damaged"),
    "truncated gzip": (gzip.compress(focus_csv(numbered(5000)))[:-2000], "truncated_gzip", "cut off"),
    "utf-16 cut in half": ("\ufeff".encode("utf-16-le") + focus_csv([row()]).decode().encode("utf-16-le")[:-1],
                           "not_text", "UTF-16"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "code", "words"), REFUSED.values(), ids=REFUSED)
def test_use_02_a_file_that_is_no_focus_csv_is_refused_with_a_clear_sentence(content, code, words):
    with pytest.raises(FileRefused) as refused:
        read(content)
    assert refused.value.code == code
    assert words in refused.value.message


def test_use_01_the_missing_columns_are_listed():
    for name in MANDATORY:
        with pytest.raises(FileRefused) as refused:
            read(focus_csv([row()], [column for column in HEADER if column != name]))
        assert refused.value.code == "not_focus"
        assert f"The columns {name} are missing" in refused.value.message
        assert refused.value.line == 1


def test_use_02_identity_is_content_not_spelling_or_order():
    header = [*HEADER, "Zone"]
    spellings = [
        row(BilledCost="1.50", Tags='{"b": "1", "a": "2"}'),
        row(
            BilledCost="1.5",
            Tags='{"a":"2","b":"1"}',
            ChargePeriodStart="2024-09-10T02:00:00+02:00",
            Zone="NULL",
        ),
    ]
    good, _, _ = read(focus_csv(spellings, header))
    assert good[0]["row_hash"] == good[1]["row_hash"]
    others = [
        row(Zone="a"),
        row(ResourceName="a"),
        row(ResourceName="", Zone="vm-1"),
        row(BilledCost="1.6"),
        row(),
    ]
    good, _, _ = read(focus_csv(others, header))
    assert len({found["row_hash"] for found in good}) == len(others)


def test_fast_and_slow_path_agree():
    """What `parse` takes has no problems, and what it refuses has one."""
    parser = RowParser(HEADER)
    assert parser.problems(list(row().values())) == []
    for column, value, _ in BAD_VALUES:
        assert parser.problems([row(**{column: value})[name] for name in HEADER]) != []
