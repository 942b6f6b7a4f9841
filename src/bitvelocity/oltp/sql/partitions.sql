-- name: missing
-- Partitions that should be there around now and are not, with their range.
select leaf, lo at time zone 'UTC', (lo + %(every)s::interval) at time zone 'UTC'
  from (select lo, format('%%s_p%%s', left(%(table)s, 50), to_char(lo,
                 case %(step)s when 'year' then 'YYYY' when 'month' then 'YYYY_MM' else 'YYYY_MM_DD' end)) as leaf
          from generate_series(date_trunc(%(step)s, (now() - %(behind)s::interval) at time zone 'UTC'),
                               (now() + %(ahead)s::interval) at time zone 'UTC', %(every)s::interval) as lo) as wanted
 where to_regclass(format('%%I.%%I', %(schema)s::text, leaf)) is null;

-- name: ensure
-- Make the missing ones around now, or in a wider range.
select bv.ensure_partitions(%(parent)s::regclass, %(step)s,
         least(now() - %(behind)s::interval, %(since)s::timestamptz),
         greatest(now() + %(ahead)s::interval, %(until)s::timestamptz));

-- name: expire
-- Take away what is older than it need be kept.
select bv.expire_partitions(%(parent)s::regclass, now() - %(retention)s::interval);
