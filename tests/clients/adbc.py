"""The Python ADBC driver asks the wage question: connect with TLS, query, parameters, metadata, a refusal."""

import json
import sys

import adbc_driver_flightsql.dbapi as flightsql
from adbc_driver_flightsql import DatabaseOptions
from adbc_driver_manager import DatabaseOptions as Login

WAGES = """SELECT p.geslacht, avg(a.salschal) AS scale, count(*) AS n
  FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr
 WHERE p.geslacht = ? GROUP BY p.geslacht"""


def main(info_file):
    with open(info_file, encoding="utf-8") as file:
        info = json.load(file)
    user = next(user for user in info["users"] if user["user"] == "analyst@uva.nl")
    with open(info["ca_file"], encoding="utf-8") as file:
        authority = file.read()
    options = {
        Login.USERNAME.value: user["user"],
        Login.PASSWORD.value: user["token"],
        DatabaseOptions.TLS_ROOT_CERTS.value: authority,
        DatabaseOptions.WITH_COOKIE_MIDDLEWARE.value: "true",
    }
    with flightsql.connect(info["uri"], db_kwargs=options, autocommit=True) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SET dynamos.purpose = 'statistics'")
            cursor.execute(WAGES, parameters=("V",))
            (row,) = cursor.fetchall()
            assert row[0] == "V" and 5 < row[1] < 15 and row[2] > 1000, row
            try:
                cursor.execute("SELECT * FROM wages.personen")
                cursor.fetchall()
            except Exception as refused:  # the driver's class depends on the status
                assert "RELEASE" in str(refused), refused
            else:
                raise AssertionError("protected rows were given out")
        objects = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
        tables = {
            table["table_name"]
            for catalog in objects
            for schema in catalog["catalog_db_schemas"] or []
            for table in schema["db_schema_tables"] or []
        }
        assert {"personen", "aanstellingen"} <= tables, tables
    print("1 passed, 0 failed")


main(sys.argv[1])
