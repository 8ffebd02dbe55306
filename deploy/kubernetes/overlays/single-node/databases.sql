-- Two databases, because Dagster and the catalog both keep a table of their migrations.
CREATE DATABASE dagster;
CREATE DATABASE caseprep;
