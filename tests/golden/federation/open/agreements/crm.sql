CREATE AGREEMENT open_data ON SITE crm
  FOR ANYONE
  PURPOSE secondary_use
AS (
  RELEASE ROWS (*) FROM tpch.customer,
  SHIP ROWS (*) FROM tpch.customer TO ANY,
  RELEASE ROWS (*) FROM tpch.orders,
  SHIP ROWS (*) FROM tpch.orders TO ANY,
  RELEASE ROWS (*) FROM tpch.lineitem,
  SHIP ROWS (*) FROM tpch.lineitem TO ANY
);
