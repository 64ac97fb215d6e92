//! The figures of several registries, added up to those of one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use prometheus::proto::{Bucket, Counter, Histogram, Metric, MetricFamily, MetricType};

/// The sums of counters and histograms that have name and labels in common, in their order.
pub(super) fn of(registries: impl IntoIterator<Item = Vec<MetricFamily>>) -> Vec<MetricFamily> {
    let mut families: BTreeMap<String, (MetricFamily, BTreeMap<Vec<String>, Metric>)> = BTreeMap::new();
    for mut family in registries.into_iter().flatten() {
        let found = std::mem::take(family.mut_metric());
        let kind = family.get_field_type();
        let (_, metrics) = families.entry(family.name().to_owned()).or_insert((family, BTreeMap::new()));
        for metric in found {
            let labels = metric.get_label().iter().map(|label| label.value().to_owned()).collect();
            match metrics.entry(labels) {
                Entry::Vacant(none) => {
                    none.insert(metric);
                }
                Entry::Occupied(sum) => add(sum.into_mut(), &metric, kind),
            }
        }
    }
    let whole = |(mut family, metrics): (MetricFamily, BTreeMap<_, Metric>)| {
        family.set_metric(metrics.into_values().collect());
        family
    };
    families.into_values().map(whole).collect()
}

fn add(sum: &mut Metric, further: &Metric, kind: MetricType) {
    if kind == MetricType::HISTOGRAM {
        sum.set_histogram(both(sum.get_histogram(), further.get_histogram()));
    } else {
        let mut counter = Counter::default();
        counter.set_value(sum.get_counter().get_value() + further.get_counter().get_value());
        sum.set_counter(counter);
    }
}

/// Of two histograms with the same buckets.
fn both(one: &Histogram, other: &Histogram) -> Histogram {
    let bucket = |(one, other): (&Bucket, &Bucket)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(one.upper_bound());
        bucket.set_cumulative_count(one.cumulative_count() + other.cumulative_count());
        bucket
    };
    let mut sum = Histogram::default();
    sum.set_sample_count(one.get_sample_count() + other.get_sample_count());
    sum.set_sample_sum(one.get_sample_sum() + other.get_sample_sum());
    sum.set_bucket(one.get_bucket().iter().zip(other.get_bucket()).map(bucket).collect());
    sum
}
