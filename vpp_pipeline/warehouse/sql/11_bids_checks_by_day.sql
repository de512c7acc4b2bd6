-- How each day did against its rules, in one row.
create or replace view bids.checks_by_day as
select market_date, count(*) as rules, count(*) filter (passed) as held, count(*) filter (not passed and is_warning) as warnings,
       count(*) filter (not passed and not is_warning) as broken,
       coalesce(sum(violations) filter (not is_warning), 0)::bigint as violations,
       coalesce(string_agg(check_name, ', ' order by check_name) filter (not passed), '') as not_held
from bids.checks
group by market_date;
comment on view bids.checks_by_day is 'How each day did against its rules, in one row.';
comment on column bids.checks_by_day.rules is 'Rules that the day was held against.';
comment on column bids.checks_by_day.held is 'Rules that held.';
comment on column bids.checks_by_day.warnings is 'Rules that only warn, and did.';
comment on column bids.checks_by_day.broken is 'Rules broken; such bids are not published.';
comment on column bids.checks_by_day.violations is 'Cases that broke a rule.';
comment on column bids.checks_by_day.not_held is 'Names of the rules that did not hold.';
