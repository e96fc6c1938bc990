"""Secrets in URLs and command lines are never stored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranklog.model.redact import MASK, SafeUrl, mask_command, mask_text, split_userinfo

SECRET = "c4n4ry"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://ada:c4n4ry@host:5000/x?y=1#z", SafeUrl("https://host:5000/x?y=1#z", "ada", "c4n4ry")),
        ("https://ada@host/", SafeUrl("https://host/", "ada", None)),
        ("https://:c4n4ry@host", SafeUrl("https://host", None, "c4n4ry")),
        ("https://a%40b:p%3Aw%2F@host", SafeUrl("https://host", "a@b", "p:w/")),
        ("postgresql://ada:c4n4ry@db/mlflow", SafeUrl("postgresql://db/mlflow", "ada", "c4n4ry")),
        ("https://ada:p@ss@host", SafeUrl("https://host", "ada", "p@ss")),
        ("https://host/a@b", SafeUrl("https://host/a@b")),
        ("sqlite:////home/ada/mlflow.db", SafeUrl("sqlite:////home/ada/mlflow.db")),
        ("/home/ada@host/mlruns", SafeUrl("/home/ada@host/mlruns")),
        ("", SafeUrl("")),
    ],
)
def test_user_and_password_are_taken_out_of_a_url_and_handed_back(url, expected):
    assert split_userinfo(url) == expected


@pytest.mark.parametrize(
    "text",
    [
        "cannot reach https://ada:c4n4ry@host/x, nor http://c4n4ry@other",
        "HTTPSConnectionPool: postgresql+psycopg2://ada:c4n4ry@db:5432/mlflow refused",
        "https://ada:c4n4@c4n4ry@host/x",
    ],
)
def test_passwords_of_urls_in_a_text_are_masked(text):
    assert SECRET not in mask_text(text)
    assert MASK in mask_text(text)


def test_text_without_a_password_stays_as_it_is():
    text = "see https://host/a?mail=x@y and mail me at ada@host"
    assert mask_text(text) == text


@pytest.mark.parametrize(
    "argv",
    [
        ["train.py", "--api-key", SECRET],
        ["train.py", "--api_key=c4n4ry"],
        ["train.py", "--wandb-token", SECRET, "--lr", "0.1"],
        ["train.py", "--password=c4n4ry"],
        ["train.py", "--mlflow-uri", "https://ada:c4n4ry@host"],
        ["train.py", "WANDB_API_KEY=c4n4ry"],
        ["train.py", "--uri=https://ada:c4n4ry@host"],
        ["train.py", "--secret", "-c4n4ry"],
        ["train.py", "--accessToken", SECRET],
        ["train.py", "--hub.auth_token=c4n4ry", "--privateKey=c4n4ry", "--passwd", SECRET],
    ],
)
def test_secrets_in_arguments_are_masked(argv):
    masked = mask_command(argv)
    assert SECRET not in " ".join(masked)
    assert len(masked) == len(argv)


def test_other_arguments_stay():
    argv = [
        "train.py",
        "--lr",
        "0.1",
        "--tokenizer=bert",
        "--authors",
        "ada",
        "--max-tokens",
        "4096",
        "data/a=b.csv",
        "-v",
    ]
    assert mask_command(argv) == tuple(argv)


@given(st.lists(st.text(max_size=30), max_size=6))
def test_any_command_line_can_be_masked(argv):
    assert len(mask_command(argv)) == len(argv)
