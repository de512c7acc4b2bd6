-- Every table and view of the warehouse, with columns, types, units, and descriptions.
create or replace view explain.catalogue as
with things as (
    select database_name, schema_name, table_name, 'table' as kind, comment from duckdb_tables() where not internal
    union all
    select database_name, schema_name, view_name, 'view', comment from duckdb_views() where not internal
)
select t.schema_name || '.' || t.table_name as table_name, t.kind, t.comment as table_comment, c.column_index as position, c.column_name,
       c.data_type,
       case when c.column_name like '%usd\_per\_mwh' escape '\' then '$/MWh'
            when c.column_name like '%usd\_per\_mw\_h' escape '\' then '$/MW per hour'
            when c.column_name like '%usd\_per\_kwh' escape '\' then '$/kWh'
            when c.column_name like '%\_usd' escape '\' or c.column_name like 'usd\_%' escape '\' then '$'
            when c.column_name like '%\_kw\_per\_kw' escape '\' then 'kW/kW'
            when c.column_name like '%\_kw\_h' escape '\' then 'kW·h'
            when c.column_name like '%\_mw\_h' escape '\' then 'MW·h'
            when c.column_name like '%\_mwh' escape '\' then 'MWh'
            when c.column_name like '%\_mw' escape '\' or c.column_name like 'mw\_%' escape '\' then 'MW'
            when c.column_name like '%\_kwh' escape '\' then 'kWh'
            when c.column_name like '%\_kw' escape '\' then 'kW'
            when c.column_name like '%\_fraction' escape '\' or c.column_name like '%\_efficiency' escape '\'
                 or c.column_name = 'reliability_score' then '0-1'
            when c.column_name like '%\_score' escape '\' and c.column_name != 'reliability_score' then '0-10'
            when c.column_name like '%\_utc' escape '\' then 'UTC'
            when c.column_name like '%\_hours' escape '\' and c.data_type != 'VARCHAR' then 'h'
            when c.column_name like 'seconds' then 's'
            when c.column_name like '%price%' and c.data_type = 'DOUBLE' or c.column_name like 'forecast\_%' escape '\' and c.data_type = 'DOUBLE'
                then '$/MWh; reserve: $/MW per hour'
            else '' end as unit,
       coalesce(c.comment, '') as description
from things t join duckdb_columns() c using (database_name, schema_name, table_name)
where not c.internal;
comment on view explain.catalogue is 'Every table and view of the warehouse, with columns, types, units, and descriptions.';
comment on column explain.catalogue.table_name is 'Name of the table or view, with its schema.';
comment on column explain.catalogue.kind is 'Whether it is a table or a view of tables.';
comment on column explain.catalogue.table_comment is 'Description of the table or view.';
comment on column explain.catalogue.position is 'Place of the column in its table, from 1.';
comment on column explain.catalogue.column_name is 'Name of the column.';
comment on column explain.catalogue.data_type is 'Type of the column in SQL.';
comment on column explain.catalogue.unit is 'Unit by the end of the column''s name; in the negotiation and bid tables, prices of reserve in $/MW per hour have the same names.';
comment on column explain.catalogue.description is 'Description of the column.';
