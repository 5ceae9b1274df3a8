//! Either side: a reader of published words while they are written.

use super::{Lines, both, forever, prove};
use crate::published::Published;

/// The lines that these models prove.
pub(super) const PROVEN: &[Lines] = &[("src/published.rs", "")];

/// The second publication fills the copy that a reader has begun to read.
fn a_reader_during_two_publications() {
    let published: &'static Published<2> = forever(Published::new());
    both(
        move || (1..=2).for_each(|n| published.publish(&[n, n])),
        move || {
            let [first, second] = published.read();
            assert_eq!(first, second, "parts of two publications");
        },
    );
    assert_eq!(published.read(), [2; 2]);
}

/// A second read returns nothing older than the first.
fn two_reads_during_two_publications() {
    let published: &'static Published<1> = forever(Published::new());
    both(
        move || (1..=2).for_each(|n| published.publish(&[n])),
        move || {
            let ([first], [second]) = (published.read(), published.read());
            assert!(second >= first, "{second} after {first}");
        },
    );
}

/// What a side wrote before it published is there for whoever reads the publication.
fn a_store_before_a_publication() {
    let published: &'static Published<1> = forever(Published::new());
    let other: &'static Published<1> = forever(Published::new());
    both(
        move || {
            other.publish(&[1]);
            published.publish(&[1]);
        },
        move || {
            if published.read() == [1] {
                assert_eq!(other.read(), [1]);
            }
        },
    );
}

#[test]
fn words_are_read_as_one_publication() {
    prove("published", a_reader_during_two_publications, None, PROVEN);
}

#[test]
fn publications_are_read_in_order() {
    prove("published twice", two_reads_during_two_publications, None, &[]);
}

#[test]
fn a_publication_is_seen_after_earlier_stores() {
    prove("published in order", a_store_before_a_publication, None, &[]);
}
