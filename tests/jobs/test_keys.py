"""Keys in a database, whichever it is, and several processes at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from app.jobs.keys import KeyRefused, Keyring, add_key, digest_of, first_key, list_keys, revoke_key


def test_a_key_is_known_until_it_is_revoked_in_every_process(engine: sa.Engine) -> None:
    token = add_key(engine, "alice")
    here, there = Keyring(engine, {}), Keyring(engine, {})
    owner = here.owner(token)

    assert owner is not None
    assert there.owner(token) == owner
    assert here.owner(token + "x") is None
    revoke_key(engine, "alice")
    assert here.owner(token) is None
    assert there.owner(token) is None
    assert [(one.name, one.revoked_at is not None) for one in list_keys(engine)] == [("alice", True)]


def test_of_many_processes_one_makes_the_first_key(engine: sa.Engine) -> None:
    with ThreadPoolExecutor(6) as pool:
        made = [token for token in pool.map(lambda _: first_key(engine), range(6)) if token is not None]

    assert len(made) == 1
    assert len(list_keys(engine)) == 1


def test_no_first_key_is_made_where_all_were_revoked(engine: sa.Engine) -> None:
    add_key(engine, "alice")
    revoke_key(engine, list_keys(engine)[0].id)

    assert first_key(engine) is None


def test_a_name_has_one_valid_key(engine: sa.Engine) -> None:
    add_key(engine, "alice")

    with pytest.raises(KeyRefused, match="alice"):
        add_key(engine, "alice")
    revoke_key(engine, "alice")
    add_key(engine, "alice")
    with pytest.raises(KeyRefused, match="no valid key"):
        revoke_key(engine, "bob")


def test_given_keys_are_owners_of_their_own(engine: sa.Engine) -> None:
    ring = Keyring(engine, {"a": digest_of("x" * 40), "b": digest_of("y" * 40)})

    assert [ring.owner(letter * 40) for letter in "xyz"] == ["given:a", "given:b", None]
