import socket

import pytest
from helpers.drop_in import few_plugins
from helpers.migrating_user import User
from helpers.scanned_repository import Repo


@pytest.fixture
def user(tmp_path):
    root = tmp_path / "a repository"
    root.mkdir()
    return User(root)


@pytest.fixture
def hard_port():
    """A port that nobody else gets, for a service that has it hard-coded; a broker can have it."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture
def repo(tmp_path):
    return Repo(tmp_path)
