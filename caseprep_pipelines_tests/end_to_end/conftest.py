"""The S3 server for whole runs."""

from caseprep_pipelines_tests.postgres_server import _postgres_database, postgres_server, postgres_url
from caseprep_pipelines_tests.s3_server import faulty_s3, s3, s3_address

__all__ = ["_postgres_database", "faulty_s3", "postgres_server", "postgres_url", "s3", "s3_address"]
