"""The first catalog: registry, transcripts, utterances with full text, rejections, faults, custody."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_KEY = sa.String(128)
_HEX = sa.String(64)
_STAGE = sa.String(64)
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "recordings",
        sa.Column("position", _ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("partition", _KEY, nullable=False),
        sa.Column("matter", _KEY, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("location", sa.Text, nullable=False),
        sa.Column("origin_digest", _HEX, nullable=False),
        sa.Column("sha256", _HEX),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("registered_at", _TIME, nullable=False),
        sa.Column("registered_by", sa.String(64), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        sa.Column("partition_added_at", _TIME),
        sa.PrimaryKeyConstraint("position", name="pk_recordings"),
        sa.UniqueConstraint("partition", name="uq_recordings_partition"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_recordings_matter", "recordings", ["matter"])
    op.create_index("ix_recordings_name", "recordings", ["name"])
    op.create_index("ix_recordings_sha256", "recordings", ["sha256"])
    op.create_index(
        "ix_recordings_not_yet_partitions",
        "recordings",
        ["position"],
        sqlite_where=sa.text("partition_added_at IS NULL"),
        postgresql_where=sa.text("partition_added_at IS NULL"),
    )

    op.create_table(
        "observed_objects",
        sa.Column("location_digest", _HEX, nullable=False),
        sa.Column("location", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("since", _TIME, nullable=False),
        sa.Column("partition", _KEY),
        sa.PrimaryKeyConstraint("location_digest", name="pk_observed_objects"),
        sa.ForeignKeyConstraint(["partition"], ["recordings.partition"], name="fk_observed_objects_partition"),
    )

    op.create_table(
        "transcripts",
        sa.Column("partition", _KEY, nullable=False),
        sa.Column("version", sa.String(128), nullable=False),
        sa.Column("matter", _KEY, nullable=False),
        sa.Column("digest", _HEX, nullable=False),
        sa.Column("current", sa.Boolean, nullable=False),
        sa.Column("adopted", sa.Boolean, nullable=False),
        sa.Column("demo", sa.Boolean, nullable=False),
        sa.Column("duration_seconds", sa.Double, nullable=False),
        sa.Column("languages", sa.Text, nullable=False),
        sa.Column("transcription_model", sa.Text, nullable=False),
        sa.Column("transcription_model_digest", _HEX, nullable=False),
        sa.Column("diarization_model", sa.Text),
        sa.Column("diarization_model_digest", _HEX),
        sa.Column("speakers", sa.Integer, nullable=False),
        sa.Column("utterances", sa.Integer, nullable=False),
        sa.Column("words", sa.Integer, nullable=False),
        sa.Column("flagged_utterances", sa.Integer, nullable=False),
        sa.Column("unspoken_spans", sa.Integer, nullable=False),
        sa.Column("loaded_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("partition", "version", name="pk_transcripts"),
        sa.ForeignKeyConstraint(["partition"], ["recordings.partition"], name="fk_transcripts_partition"),
    )
    op.create_index("ix_transcripts_matter", "transcripts", ["matter"])
    op.create_index(
        "uq_transcripts_current",
        "transcripts",
        ["partition"],
        unique=True,
        sqlite_where=sa.text("current"),
        postgresql_where=sa.text("current"),
    )

    op.create_table(
        "utterances",
        sa.Column("id", _ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("partition", _KEY, nullable=False),
        sa.Column("version", sa.String(128), nullable=False),
        sa.Column("matter", _KEY, nullable=False),
        sa.Column("index", sa.Integer, nullable=False),
        sa.Column("speaker", sa.Text),
        sa.Column("channel", sa.Integer, nullable=False),
        sa.Column("start_seconds", sa.Double, nullable=False),
        sa.Column("end_seconds", sa.Double, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("flags", sa.Text, nullable=False),
        sa.Column("page", sa.Integer),
        sa.Column("line", sa.Integer),
        sa.Column("search_words", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_utterances"),
        sa.ForeignKeyConstraint(
            ["partition", "version"],
            ["transcripts.partition", "transcripts.version"],
            name="fk_utterances_partition_version",
        ),
        sa.UniqueConstraint("partition", "index", name="uq_utterances_partition_index"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_utterances_matter", "utterances", ["matter"])
    if op.get_bind().dialect.name == "postgresql":
        op.create_index(
            "ix_utterances_full_text",
            "utterances",
            [sa.text("to_tsvector('simple'::regconfig, search_words)")],
            postgresql_using="gin",
        )
    else:
        _create_sqlite_full_text()

    op.create_table(
        "rejections",
        sa.Column("partition", _KEY, nullable=False),
        sa.Column("stage", _STAGE, nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("partition", name="pk_rejections"),
        sa.ForeignKeyConstraint(["partition"], ["recordings.partition"], name="fk_rejections_partition"),
    )
    op.create_index("ix_rejections_reason", "rejections", ["reason"])

    op.create_table(
        "stage_products",
        sa.Column("partition", _KEY, nullable=False),
        sa.Column("stage", _STAGE, nullable=False),
        sa.Column("version", sa.String(128), nullable=False),
        sa.Column("digest", _HEX, nullable=False),
        sa.Column("code_version", sa.String(64), nullable=False),
        sa.Column("inputs", sa.Text, nullable=False),
        sa.Column("rejected", sa.Boolean, nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("partition", "stage", name="pk_stage_products"),
        sa.ForeignKeyConstraint(["partition"], ["recordings.partition"], name="fk_stage_products_partition"),
    )
    op.create_index("ix_stage_products_run_id", "stage_products", ["run_id"])

    op.create_table(
        "faults",
        sa.Column("partition", _KEY, nullable=False),
        sa.Column("stage", _STAGE, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("first_at", _TIME, nullable=False),
        sa.Column("last_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("partition", "stage", name="pk_faults"),
        sa.ForeignKeyConstraint(["partition"], ["recordings.partition"], name="fk_faults_partition"),
    )
    op.create_index("ix_faults_last_at", "faults", ["last_at"])

    op.create_table(
        "custody_entries",
        sa.Column("partition", _KEY, nullable=False),
        sa.Column("sequence", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("previous_hash", _HEX, nullable=False),
        sa.Column("entry_hash", _HEX, nullable=False),
        sa.Column("once", _HEX),
        sa.PrimaryKeyConstraint("partition", "sequence", name="pk_custody_entries"),
        sa.ForeignKeyConstraint(["partition"], ["recordings.partition"], name="fk_custody_entries_partition"),
        sa.UniqueConstraint("partition", "once", name="uq_custody_entries_partition_once"),
        sa.CheckConstraint("sequence >= 1", name="ck_custody_entries_sequence"),
    )


def _create_sqlite_full_text() -> None:
    # The index keeps no copy of the words (`content`), so triggers tell it of every change of the table. Its
    # categories are those that `search.words_of` keeps; the words are folded before they come here.
    op.execute(
        "CREATE VIRTUAL TABLE utterances_full_text USING fts5(search_words, content='utterances', content_rowid='id', "
        "tokenize=\"unicode61 remove_diacritics 0 categories 'L* M* N*'\")"
    )
    insert = "INSERT INTO utterances_full_text(rowid, search_words) VALUES (new.id, new.search_words);"
    delete = (
        "INSERT INTO utterances_full_text(utterances_full_text, rowid, search_words) "
        "VALUES ('delete', old.id, old.search_words);"
    )
    op.execute(f"CREATE TRIGGER utterances_full_text_insert AFTER INSERT ON utterances BEGIN {insert} END")
    op.execute(f"CREATE TRIGGER utterances_full_text_delete AFTER DELETE ON utterances BEGIN {delete} END")
    op.execute(f"CREATE TRIGGER utterances_full_text_update AFTER UPDATE ON utterances BEGIN {delete} {insert} END")
