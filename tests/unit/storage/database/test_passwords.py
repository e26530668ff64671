"""How passwords are kept where it counts."""

from __future__ import annotations

from ruichat.storage.database import users


def test_passwords_are_hashed_as_rfc_9106_asks() -> None:
    hasher = users.password_hasher()
    assert (hasher.type.name, hasher.memory_cost, hasher.time_cost) == ("ID", 65536, 3)
    assert users.nobodys_hash().startswith("$argon2id$v=19$m=65536,t=3,p=4$")
