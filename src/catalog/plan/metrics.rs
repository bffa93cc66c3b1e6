//! What a file's statistics say of its columns.

use super::filter::Leaf;
use super::range::{Known, Range, Share, Verdict};
use super::transform::applied;
use crate::catalog::metadata::single_value;
use crate::catalog::metadata::types::Primitive;
use crate::snapshot::entries::{Count, Entry, Side};

/// What a file's statistics say of a test.
pub(super) fn judge(leaf: &Leaf, entry: &Entry<'_>) -> Verdict {
    let known = known(entry, leaf.id, &leaf.kind);
    match &leaf.transform {
        None => leaf.sought.among(&known),
        Some(transform) => leaf.sought.among(&applied(transform, &leaf.kind, &known)),
    }
}

/// What a file's statistics say of a column.
pub(super) fn known<'a>(entry: &Entry<'a>, id: i32, kind: &Primitive) -> Known<'a> {
    let bound = |side: Side| single_value::from_binary(kind, entry.bound(side, id)?);
    let values = entry.count(Count::Values, id);
    let real = matches!(kind, Primitive::Float | Primitive::Double);
    let nulls = entry.count(Count::Nulls, id);
    let nans = if real { entry.count(Count::Nans, id) } else { Some(0) };
    // Nulls and NaN together may be all there is, though neither is alone.
    let no_others =
        values.is_some_and(|values| nulls.zip(nans).is_some_and(|(nulls, nans)| nulls.saturating_add(nans) >= values));
    let share = |count: Option<i64>| match count {
        Some(0) => Share::None,
        Some(count) if values == Some(count) => Share::All,
        _ => Share::Some,
    };
    let range = Range::closed(bound(Side::Lower), bound(Side::Upper));
    let known = match (share(nulls), share(nans)) {
        (Share::All, _) => Known { range, nulls: Share::All, nans: Share::None },
        (_, Share::All) => Known { range, nulls: Share::None, nans: Share::All },
        (nulls, nans) => Known { range, nulls, nans },
    };
    if no_others && known.nulls == Share::Some && known.nans == Share::Some {
        return Known { range: Range::nothing(), ..known };
    }
    known
}
