CREATE AGREEMENT open_data ON SITE goods
  FOR ANYONE
  PURPOSE secondary_use
AS (
  RELEASE ROWS (*) FROM tpch.part,
  SHIP ROWS (*) FROM tpch.part TO ANY,
  RELEASE ROWS (*) FROM tpch.supplier,
  SHIP ROWS (*) FROM tpch.supplier TO ANY,
  RELEASE ROWS (*) FROM tpch.partsupp,
  SHIP ROWS (*) FROM tpch.partsupp TO ANY,
  RELEASE ROWS (*) FROM tpch.orders,
  SHIP ROWS (*) FROM tpch.orders TO ANY,
  RELEASE ROWS (*) FROM tpch.lineitem,
  SHIP ROWS (*) FROM tpch.lineitem TO ANY
);
