-- Any two runs of a day compared: how many bids changed, by how much, and the causes (settings, prices, fleet, requests, code, or deals).
create or replace view bids.runs_compared as
with numbered as (
    select r.*, n.run_number, n.is_last from bids.runs r join bids.runs_of_day n using (market_date, run_id)
),
named as (select market_date, run_id, settings, unnest(json_keys(settings)) as name from bids.runs),
pairs as (
    select r.market_date, b.run_number as number_before, r.run_number, b.run_id as run_before, r.run_id
    from numbered r join numbered b on b.market_date = r.market_date and b.run_number < r.run_number
),
chosen as (
    select distinct p.market_date, p.run_before, p.run_id, n.name
    from pairs p join named n on n.market_date = p.market_date and n.run_id in (p.run_before, p.run_id)
),
settings as (
    select c.market_date, c.run_before, c.run_id,
           string_agg(format('{} {} -> {}', c.name, coalesce(json_extract_string(b.settings, '$."' || c.name || '"'), '(default)'),
                             coalesce(json_extract_string(r.settings, '$."' || c.name || '"'), '(default)')), ', ' order by c.name) as words
    from chosen c
    join bids.runs b on b.market_date = c.market_date and b.run_id = c.run_before
    join bids.runs r on r.market_date = c.market_date and r.run_id = c.run_id
    where json_extract_string(b.settings, '$."' || c.name || '"') is distinct from json_extract_string(r.settings, '$."' || c.name || '"')
    group by all
),
changes as (
    select market_date, run_before, run_id, count(*) as bids_changed, sum(abs(change_mw)) as moved_mw
    from bids.changes_between_runs
    group by all
),
beside as (
    select r.market_date, b.run_number as number_before, r.run_number, r.is_last and b.run_number = r.run_number - 1 as is_last_change,
           coalesce(c.bids_changed, 0) as bids_changed, coalesce(c.moved_mw, 0) as moved_mw, r.bids - b.bids as change_bids,
           r.energy_mwh - b.energy_mwh as change_energy_mwh, r.spin_mw_h - b.spin_mw_h as change_spin_mw_h,
           r.nonspin_mw_h - b.nonspin_mw_h as change_nonspin_mw_h, b.expected_profit_usd as profit_before_usd,
           r.expected_profit_usd as profit_now_usd, r.expected_profit_usd - b.expected_profit_usd as change_profit_usd,
           list_filter([
               case when s.words is not null then 'settings: ' || s.words end,
               case when (b.price_source, b.node) is distinct from (r.price_source, r.node)
                    then format('prices: {} at {} -> {} at {}', b.price_source, b.node, r.price_source, r.node)
                    when b.prices_version is distinct from r.prices_version then 'forecast prices' end,
               case when b.fleet_version is distinct from r.fleet_version
                    then format('fleet, its limits, or its initial states of charge ({} -> {} prosumers)', b.prosumers, r.prosumers) end,
               case when b.requests_version is distinct from r.requests_version then 'requests' end,
               case when b.code_version != r.code_version then format('code {} -> {}', b.code_version, r.code_version) end
           ], lambda cause: cause is not null) as causes,
           b.deals_version is distinct from r.deals_version as other_deals, b.run_id as run_before, r.run_id
    from numbered r
    join numbered b on b.market_date = r.market_date and b.run_number < r.run_number
    left join settings s on s.market_date = r.market_date and s.run_before = b.run_id and s.run_id = r.run_id
    left join changes c on c.market_date = r.market_date and c.run_before = b.run_id and c.run_id = r.run_id
)
select * exclude (causes),
       case when len(causes) > 0 then array_to_string(causes, '; ')
            when other_deals then 'agreements only: the same settings, prices, and fleet (other advice of a language model, or a repeated negotiation)'
            when bids_changed > 0 then 'no known cause: the same inputs, settings, and code; a search that `optimiser.time_limit_seconds` stops depends on the machine''s speed'
            else 'nothing' end as why
from beside;
comment on view bids.runs_compared is 'Any two runs of a day compared: how many bids changed, by how much, and the causes (settings, prices, fleet, requests, code, or deals). Differences are later less earlier.';
comment on column bids.runs_compared.number_before is 'Number of the earlier run of the day (bids.runs_of_day).';
comment on column bids.runs_compared.run_number is 'Number of the later run of the day.';
comment on column bids.runs_compared.is_last_change is 'Whether these are the last two runs of the day.';
comment on column bids.runs_compared.bids_changed is 'Number of bids that are new, gone, or of other MW, price, or curve.';
comment on column bids.runs_compared.moved_mw is 'Sum of the MW added and removed.';
comment on column bids.runs_compared.change_bids is 'Increase of the number of bids.';
comment on column bids.runs_compared.change_energy_mwh is 'Increase of the energy bid.';
comment on column bids.runs_compared.change_spin_mw_h is 'Increase of the spinning reserve bid.';
comment on column bids.runs_compared.change_nonspin_mw_h is 'Increase of the non-spinning reserve bid.';
comment on column bids.runs_compared.profit_before_usd is 'Expected profit of the earlier run''s bids.';
comment on column bids.runs_compared.profit_now_usd is 'Expected profit of the later run''s bids.';
comment on column bids.runs_compared.change_profit_usd is 'Increase of the expected profit.';
comment on column bids.runs_compared.other_deals is 'Whether the agreements differ.';
comment on column bids.runs_compared.run_before is 'Id of the earlier run.';
comment on column bids.runs_compared.run_id is 'Id of the later run.';
comment on column bids.runs_compared.why is 'Causes of the changes in words.';
