"""Exchange rates: direct, inverse, cross, stale, none; the two imports (INV-04)."""

from datetime import date
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import DjangoAssertNumQueries

from core.access import system_actor
from core.errors import Conflict, Forbidden, Invalid
from core.exchange import (
    RatesImported,
    RateUsed,
    convert,
    exchange_rate_record,
    exchange_rates_import_csv,
    exchange_rates_import_ecb,
    rate_for,
)
from core.models import ExchangeRate, User

pytestmark = pytest.mark.django_db

FRIDAY = date(2024, 9, 27)
SUNDAY = date(2024, 9, 29)


def add(base: str, quote: str, rate: str, day: date = FRIDAY, source: str = "ECB") -> None:
    ExchangeRate.objects.create(date=day, base=base, quote=quote, rate=Decimal(rate), source=source)


def test_same_currency_is_one() -> None:
    assert rate_for("USD", "USD", SUNDAY) == RateUsed("USD", "USD", Decimal(1), SUNDAY, "same currency")


def test_direct_rate_is_the_latest_on_or_before_the_date() -> None:
    add("EUR", "USD", "1.1158", FRIDAY)
    add("EUR", "USD", "1.1196", date(2024, 9, 30))
    assert rate_for("EUR", "USD", SUNDAY) == RateUsed("EUR", "USD", Decimal("1.1158"), FRIDAY, "ECB")
    assert rate_for("EUR", "USD", date(2024, 9, 30)).rate == Decimal("1.1196")
    assert rate_for("EUR", "USD", FRIDAY).rate_date == FRIDAY


def test_inverse_rate() -> None:
    add("EUR", "USD", "1.1158")
    # 1 / 1.1158 = 0.89621796020…
    assert rate_for("USD", "EUR", SUNDAY) == RateUsed("USD", "EUR", Decimal("0.8962179602"), FRIDAY, "ECB")


def test_cross_rate_goes_through_the_euro_and_is_rounded_once() -> None:
    add("EUR", "USD", "1.1158")
    add("EUR", "JPY", "159.53")
    # 159.53 / 1.1158 = 142.97365119197…; through the rounded inverse it would be 142.9736511907.
    assert rate_for("USD", "JPY", SUNDAY) == RateUsed("USD", "JPY", Decimal("142.9736511920"), FRIDAY, "ECB")
    assert rate_for("JPY", "USD", SUNDAY).rate == Decimal("0.0069942957")


def test_cross_rate_has_the_older_date_and_both_sources() -> None:
    add("EUR", "USD", "1.1158", FRIDAY)
    add("KWD", "EUR", "2.94", date(2024, 9, 26), source="bank")
    assert rate_for("KWD", "USD", SUNDAY) == RateUsed(
        "KWD", "USD", Decimal("3.280452"), date(2024, 9, 26), "bank, ECB"
    )


def test_the_latest_way_wins_and_of_one_date_the_most_direct() -> None:
    add("EUR", "USD", "1.1158", FRIDAY)
    add("EUR", "GBP", "0.8350", FRIDAY)
    add("GBP", "USD", "1.30", date(2024, 9, 25), source="bank")
    assert rate_for("GBP", "USD", SUNDAY).rate_date == FRIDAY
    add("GBP", "USD", "1.34", FRIDAY, source="bank")
    assert rate_for("GBP", "USD", SUNDAY) == RateUsed("GBP", "USD", Decimal("1.34"), FRIDAY, "bank")
    # A pair published both ways on one date is read directly.
    add("USD", "GBP", "0.70", FRIDAY, source="bank")
    assert rate_for("USD", "GBP", SUNDAY).rate == Decimal("0.70")


def test_on_one_date_the_companys_own_source_wins_over_the_ecb() -> None:
    add("EUR", "USD", "1.12", FRIDAY, source="treasury")
    add("EUR", "USD", "1.1158", FRIDAY)
    assert rate_for("EUR", "USD", SUNDAY).source == "treasury"


def test_a_rate_may_be_seven_days_old_and_no_more(settings: Any) -> None:
    settings.EXCHANGE_RATE_MAX_AGE_DAYS = 7
    add("EUR", "USD", "1.1158", FRIDAY)
    assert rate_for("EUR", "USD", date(2024, 10, 4)).rate_date == FRIDAY
    with pytest.raises(Conflict) as refused:
        rate_for("EUR", "USD", date(2024, 10, 5))
    assert refused.value.code == "stale_exchange_rate"
    assert refused.value.extra == {
        "base": "EUR", "quote": "USD", "date": "2024-10-05", "rate_date": "2024-09-27", "max_age_days": 7,
    }  # fmt: skip
    assert "import_exchange_rates" in refused.value.message
    assert "Exchange rates" in refused.value.message


@pytest.mark.parametrize("pair", [("USD", "EUR"), ("USD", "JPY"), ("EUR", "USD")])
def test_no_rate(pair: tuple[str, str]) -> None:
    add("EUR", "USD", "1.1158", date(2024, 9, 30))
    add("EUR", "GBP", "0.8350", FRIDAY)
    with pytest.raises(Conflict) as refused:
        rate_for(*pair, SUNDAY)
    assert refused.value.code == "no_exchange_rate"
    assert refused.value.extra == {"base": pair[0], "quote": pair[1], "date": "2024-09-29"}
    assert "import_exchange_rates" in refused.value.message


def test_unknown_currency() -> None:
    with pytest.raises(Invalid) as refused:
        rate_for("USD", "XXX", SUNDAY)
    assert refused.value.code == "unknown_currency"


def test_a_rate_takes_one_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    add("EUR", "USD", "1.1158")
    add("EUR", "JPY", "159.53")
    with django_assert_num_queries(1):
        rate_for("USD", "JPY", SUNDAY)


def test_conversion_is_exact() -> None:
    used = RateUsed("USD", "JPY", Decimal("142.9736511920"), FRIDAY, "ECB")
    assert convert(Decimal("20.52022672899"), used) == Decimal("2933.851738731371374456080")
    # 40 digits: more than Python's default context would keep.
    assert convert(Decimal("99999999999999.123456789012345"), used) == Decimal(
        "14297365119199874.6774166975353522119652400"
    )


def test_ecb_history_comes_with_the_product_and_is_added_once() -> None:
    out = StringIO()
    call_command("import_exchange_rates", ecb=True, since=date(2024, 9, 1), stdout=out)
    count = ExchangeRate.objects.count()
    assert f"{count} exchange rates added, 0 were there already." in out.getvalue()
    assert ExchangeRate.objects.earliest("date").date == date(2024, 9, 2)
    used = rate_for("EUR", "USD", date(2024, 9, 30))
    assert (used.rate, used.rate_date, used.source) == (Decimal("1.1196"), date(2024, 9, 30), "ECB")
    assert exchange_rates_import_ecb(since=date(2024, 9, 1)) == RatesImported(added=0, unchanged=count)
    # A Sunday takes Friday's rate.
    assert rate_for("EUR", "USD", SUNDAY).rate_date == FRIDAY


CSV = "date,base,quote,rate\n2024-09-27,EUR,KWD,0.3401\n2024-09-27,eur,AED,4.0978\n"


def test_csv_import_adds_once_and_writes_history() -> None:
    system = system_actor()
    assert exchange_rates_import_csv(actor=system, lines=CSV.splitlines(), source="bank") == RatesImported(
        2, 0
    )
    assert exchange_rates_import_csv(actor=system, lines=CSV.splitlines(), source="bank") == RatesImported(
        0, 2
    )
    rate = ExchangeRate.objects.get(quote="KWD")
    assert (rate.rate, rate.source) == (Decimal("0.3401"), "bank")
    row = rate.history.get()
    assert (row.history_user, row.history_change_reason) == (system, "import of exchange rates from bank")
    assert rate_for("KWD", "AED", SUNDAY).rate == Decimal("12.0488091738")


def test_csv_import_needs_the_right() -> None:
    anna = User.objects.create_user("anna")
    with pytest.raises(Forbidden):
        exchange_rates_import_csv(actor=anna, lines=CSV.splitlines())
    assert ExchangeRate.objects.count() == 0


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("27.09.2024,EUR,USD,1.1", "invalid_date"), ("2024-09-27,EUR,ZZZ,1.1", "unknown_currency"),
        ("2024-09-27,EUR,EUR,1.1", "same_currency"), ("2024-09-27,EUR,USD,0", "invalid_rate"),
        ("2024-09-27,EUR,USD,-1", "invalid_rate"), ("2024-09-27,EUR,USD,NaN", "amount_not_finite"),
        ("2024-09-27,EUR,USD,1e400", "amount_too_large"), ("2024-09-27,EUR,USD,1e11", "invalid_rate"),
        ("2024-09-27,EUR,USD,=1+1", "invalid_amount"), ("2024-09-27,EUR,USD", "invalid_amount"),
        ("2024-09-27,EUR,USD,1.12345678901", "amount_too_precise"), ("2024-09-27,EUR,KWD,0.5", "rate_differs"),
    ],
)  # fmt: skip
def test_a_wrong_csv_line_stops_all_of_it(line: str, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        exchange_rates_import_csv(actor=system_actor(), lines=[*CSV.splitlines(), line])
    assert refused.value.code == "invalid_exchange_rates"
    assert [(problem.pointer, problem.code) for problem in refused.value.errors] == [("/lines/4", code)]
    assert ExchangeRate.objects.count() == 0


def test_a_rate_that_contradicts_a_stored_one_is_refused() -> None:
    add("EUR", "KWD", "0.35", source="CSV")
    with pytest.raises(Invalid) as refused:
        exchange_rates_import_csv(actor=system_actor(), lines=CSV.splitlines())
    assert [(problem.pointer, problem.code) for problem in refused.value.errors] == [
        ("/lines/2", "rate_differs")
    ]
    assert ExchangeRate.objects.get().rate == Decimal("0.35")


OWN: dict[str, Any] = {
    "date": FRIDAY,
    "base": "EUR",
    "quote": "KWD",
    "rate": Decimal("0.3401"),
    "source": "treasury",
}


def test_a_rate_of_ones_own_is_recorded_once() -> None:
    rate = exchange_rate_record(actor=system_actor(), **OWN)
    assert rate_for("EUR", "KWD", SUNDAY) == RateUsed("EUR", "KWD", Decimal("0.3401"), FRIDAY, "treasury")
    assert rate.history.get().history_user == system_actor()
    with pytest.raises(Conflict) as refused:
        exchange_rate_record(actor=system_actor(), **OWN | {"rate": Decimal("0.35")})
    assert refused.value.code == "exchange_rate_exists"
    with pytest.raises(Forbidden):
        exchange_rate_record(actor=User.objects.create_user("anna"), **OWN | {"source": "anna"})
    assert ExchangeRate.objects.get().rate == Decimal("0.3401")


@pytest.mark.parametrize(
    "change",
    [
        {"rate": Decimal(0)},
        {"rate": Decimal(-1)},
        {"quote": "EUR"},
        {"quote": "ZZZ"},
        {"rate": Decimal("NaN")},
    ],
)
def test_a_wrong_rate_of_ones_own_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        exchange_rate_record(actor=system_actor(), **OWN | change)
    assert ExchangeRate.objects.count() == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "must name the columns"), (b"a,b\n1,2\n", "missing: base, date, quote, rate"),
        (CSV.encode("utf-16"), "no UTF-8 text"), (b"date,base,quote,rate\nx,EUR,USD,1\n", 'Line 2: "x" is no date'),
    ],
)  # fmt: skip
def test_the_command_says_what_is_wrong_with_a_file(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "rates.csv"
    file.write_bytes(content)
    with pytest.raises(CommandError, match=words):
        call_command("import_exchange_rates", csv=file, stdout=StringIO())
    assert ExchangeRate.objects.count() == 0


def test_the_command_reads_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "rates.csv"
    file.write_bytes(CSV.encode("utf-8-sig"))
    out = StringIO()
    call_command("import_exchange_rates", csv=file, source="bank", stdout=out)
    assert out.getvalue() == "2 exchange rates added, 0 were there already.\n"
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("import_exchange_rates", csv=tmp_path / "none.csv", stdout=StringIO())
