CREATE AGREEMENT open_data ON SITE geo
  FOR ANYONE
  PURPOSE secondary_use
AS (
  RELEASE ROWS (*) FROM tpch.region,
  SHIP ROWS (*) FROM tpch.region TO ANY,
  RELEASE ROWS (*) FROM tpch.nation,
  SHIP ROWS (*) FROM tpch.nation TO ANY,
  RELEASE ROWS (*) FROM tpch.orders,
  SHIP ROWS (*) FROM tpch.orders TO ANY,
  RELEASE ROWS (*) FROM tpch.lineitem,
  SHIP ROWS (*) FROM tpch.lineitem TO ANY
);
