//! Quicksort that leaves alone what nobody asks for. The order of equal elements is part of Redis' replies (it decides
//! which of several members at one place are returned), so this is the very algorithm that Redis uses: J. L. Bentley and
//! M. D. McIlroy, "Engineering a Sort Function", Software: Practice and Experience 23 (1993).

use std::cmp::Ordering;

/// Shorter slices are sorted by insertion.
const FEW: usize = 7;
/// Of longer ones the pivot is the median of three medians.
const MANY: usize = 40;

/// Moves the smallest `wanted` elements to the front, in order; the others are behind them in any order.
pub fn sort_first<T>(all: &mut [T], wanted: usize, compare: &dyn Fn(&T, &T) -> Ordering) {
    let (mut start, mut n) = (0, all.len());
    // The part on the right is gone on with here, the one on the left by recursion: it is short, or ends soon.
    while n >= FEW && start < wanted {
        let part = &mut all[start..start + n];
        part.swap(0, pivot(part, compare));
        let (less, greater) = partition(part, compare);
        if less > 1 {
            sort_first(&mut part[..less], wanted - start, compare);
        }
        start += n - greater;
        n = greater;
    }
    if start < wanted {
        insertion(&mut all[start..start + n], compare);
    }
}

fn insertion<T>(part: &mut [T], compare: &dyn Fn(&T, &T) -> Ordering) {
    for end in 1..part.len() {
        for i in (1..=end).rev() {
            if compare(&part[i - 1], &part[i]).is_le() {
                break;
            }
            part.swap(i - 1, i);
        }
    }
}

fn pivot<T>(part: &[T], compare: &dyn Fn(&T, &T) -> Ordering) -> usize {
    let median = |a: usize, b: usize, c: usize| {
        let (ab, bc) = (compare(&part[a], &part[b]), compare(&part[b], &part[c]));
        let ac = || compare(&part[a], &part[c]).is_lt();
        match ab.is_lt() {
            true if bc.is_lt() => b,
            true if ac() => c,
            true => a,
            false if bc.is_gt() => b,
            false if ac() => a,
            false => c,
        }
    };
    let n = part.len();
    let (first, middle, last) = (0, n / 2, n - 1);
    if n == FEW {
        return middle;
    }
    if n <= MANY {
        return median(first, middle, last);
    }
    let d = n / 8;
    median(
        median(first, first + d, first + 2 * d),
        median(middle - d, middle, middle + d),
        median(last - 2 * d, last - d, last),
    )
}

/// Puts what is less than the first element in front, what is greater at the end; how many there are of either.
fn partition<T>(part: &mut [T], compare: &dyn Fn(&T, &T) -> Ordering) -> (usize, usize) {
    let n = part.len();
    // What equals the pivot is gathered at both ends first. From the left: equal, less, unknown, greater, equal.
    let (mut less, mut unknown) = (1, 1);
    let (mut known, mut greater) = (n, n);
    loop {
        while unknown < known {
            match compare(&part[unknown], &part[0]) {
                Ordering::Greater => break,
                Ordering::Equal => {
                    part.swap(less, unknown);
                    less += 1;
                }
                Ordering::Less => {}
            }
            unknown += 1;
        }
        while unknown < known {
            match compare(&part[known - 1], &part[0]) {
                Ordering::Less => break,
                Ordering::Equal => {
                    greater -= 1;
                    part.swap(known - 1, greater);
                }
                Ordering::Greater => {}
            }
            known -= 1;
        }
        if unknown >= known {
            break;
        }
        part.swap(unknown, known - 1);
        unknown += 1;
        known -= 1;
    }
    // Then it is swapped to the middle.
    let fewer = less.min(unknown - less);
    (0..fewer).for_each(|i| part.swap(i, unknown - fewer + i));
    let fewer = (greater - known).min(n - greater);
    (0..fewer).for_each(|i| part.swap(unknown + i, n - fewer + i));
    (unknown - less, greater - known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rng::Rng;

    #[test]
    fn the_first_are_in_order_and_nothing_is_lost() {
        let mut rng = Rng::new(11);
        for round in 0..2000 {
            let n = rng.below(200);
            let kinds = 1 + rng.below(if round % 2 == 0 { 5 } else { 1000 });
            let mut all: Vec<(usize, usize)> = (0..n).map(|i| (rng.below(kinds), i)).collect();
            let wanted = rng.below(n + 2);
            let mut sorted: Vec<usize> = all.iter().map(|e| e.0).collect();
            sorted.sort_unstable();
            sort_first(&mut all, wanted, &|a, b| a.0.cmp(&b.0));
            let first: Vec<usize> = all.iter().map(|e| e.0).take(wanted).collect();
            assert_eq!(first, sorted[..wanted.min(n)]);
            let mut places: Vec<usize> = all.iter().map(|e| e.1).collect();
            places.sort_unstable();
            assert!(places.into_iter().eq(0..n));
        }
    }

    /// What redis-server 7.0 answers to GEORADIUS … COUNT 11 where twelve members are at one place.
    #[test]
    fn equal_elements_are_in_redis_order() {
        let mut all: Vec<u32> = (0..12).collect();
        sort_first(&mut all, 11, &|_, _| Ordering::Equal);
        assert_eq!(all, [11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0]);
    }
}
