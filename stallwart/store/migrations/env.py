"""What Alembic runs: the migrations on the connection, and in the transaction, of `database.upgrade`."""

from alembic import context

from stallwart.store.tables import metadata

# SQLite alters a table by copying it, which render_as_batch writes into new steps
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
