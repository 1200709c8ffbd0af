//! Positions on Earth as scores of a sorted set: both coordinates cut into 2^26 steps and their bits interleaved
//! (<https://redis.io/docs/latest/commands/geoadd/>), so that a square of the map is a range of scores. Scores and
//! distances are those of Redis to the last bit, which is why the order of each calculation matters.

/// Longitudes go up to here, east and west.
const MAX_LONGITUDE: f64 = 180.0;
/// Latitudes go up to here, north and south: where a Mercator map becomes square.
const MAX_LATITUDE: f64 = 85.05112878;
/// Latitudes of the textual form, which knows the poles.
const POLE: f64 = 90.0;
/// Radius of a sphere that stands for Earth, in metres.
const EARTH_RADIUS: f64 = 6372797.560856;
/// Half the width of a Mercator map, in metres.
const MERCATOR_MAX: f64 = 20037726.37;
/// Steps of a score: bits of each coordinate.
const STEPS: u32 = 26;
/// Letters of the textual form (<http://geohash.org>).
const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
/// Length of the textual form. Of its 55 bits a score has 52: the last letter is always the first of the alphabet.
const TEXT_LEN: usize = 11;

/// Shifts and masks that put a zero between each two bits.
const SPREAD: [(u32, u64); 5] = [
    (16, 0x0000_ffff_0000_ffff),
    (8, 0x00ff_00ff_00ff_00ff),
    (4, 0x0f0f_0f0f_0f0f_0f0f),
    (2, 0x3333_3333_3333_3333),
    (1, 0x5555_5555_5555_5555),
];

fn spread(x: u32) -> u64 {
    SPREAD.iter().fold(u64::from(x), |x, &(shift, mask)| (x | x << shift) & mask)
}

/// The bits at even places.
fn gather(x: u64) -> u32 {
    let narrowed = SPREAD.windows(2).rev().fold(x & SPREAD[4].1, |x, w| (x | x >> w[1].0) & w[0].1);
    (narrowed | narrowed >> 16) as u32
}

fn radians(degrees: f64) -> f64 {
    degrees * (std::f64::consts::PI / 180.0)
}

fn degrees(radians: f64) -> f64 {
    radians / (std::f64::consts::PI / 180.0)
}

/// A square of the map: longitude and latitude in steps of `1 / 2^step` of their range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cell {
    longitude: u32,
    latitude: u32,
    step: u32,
}

/// The coordinates that a cell covers.
struct Bounds {
    west: f64,
    east: f64,
    south: f64,
    north: f64,
}

impl Cell {
    fn of(point: Point, step: u32, max_latitude: f64) -> Cell {
        let part = |x: f64, max: f64| ((x + max) / (max + max) * (1u64 << step) as f64) as u32;
        Cell {
            longitude: part(point.longitude, MAX_LONGITUDE),
            latitude: part(point.latitude, max_latitude),
            step,
        }
    }

    fn bits(self) -> u64 {
        spread(self.latitude) | spread(self.longitude) << 1
    }

    fn bounds(self) -> Bounds {
        let parts = (1u64 << self.step) as f64;
        let edge = |n: u32, max: f64| -max + f64::from(n) / parts * (max + max);
        Bounds {
            west: edge(self.longitude, MAX_LONGITUDE),
            east: edge(self.longitude.wrapping_add(1), MAX_LONGITUDE),
            south: edge(self.latitude, MAX_LATITUDE),
            north: edge(self.latitude.wrapping_add(1), MAX_LATITUDE),
        }
    }

    /// The cell so many to the east and north; the map is round in both directions.
    fn beside(self, east: i32, north: i32) -> Cell {
        let mask = (1u32 << self.step) - 1;
        let moved = |n: u32, by: i32| if by == 0 { n } else { n.wrapping_add_signed(by) & mask };
        Cell { longitude: moved(self.longitude, east), latitude: moved(self.latitude, north), ..self }
    }

    /// The scores of the positions in it: from the first to behind the last.
    fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEPS - self.step);
        ((self.bits() << shift) as f64, ((self.bits() + 1) << shift) as f64)
    }
}

/// A position, in degrees.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Point {
    /// East is positive.
    pub longitude: f64,
    /// North is positive.
    pub latitude: f64,
}

impl Point {
    /// A position that has a score: `None` for one too close to a pole, or not on the map.
    pub fn new(longitude: f64, latitude: f64) -> Option<Point> {
        let on_map = (-MAX_LONGITUDE..=MAX_LONGITUDE).contains(&longitude)
            && (-MAX_LATITUDE..=MAX_LATITUDE).contains(&latitude);
        on_map.then_some(Point { longitude, latitude })
    }

    /// Its score.
    pub fn score(self) -> u64 {
        Cell::of(self, STEPS, MAX_LATITUDE).bits()
    }

    /// The middle of the cell that a score stands for. Any score stands for one, also if it never was a position's.
    pub fn from_score(score: f64) -> Point {
        let bits = score_bits(score);
        let cell = Cell { longitude: gather(bits >> 1), latitude: gather(bits), step: STEPS };
        let b = cell.bounds();
        Point {
            longitude: ((b.west + b.east) / 2.0).clamp(-MAX_LONGITUDE, MAX_LONGITUDE),
            latitude: ((b.south + b.north) / 2.0).clamp(-MAX_LATITUDE, MAX_LATITUDE),
        }
    }

    /// The textual form that geohash.org and others know.
    pub fn text(self) -> [u8; TEXT_LEN] {
        let bits = Cell::of(self, STEPS, POLE).bits();
        std::array::from_fn(|i| {
            let shift = (2 * STEPS).checked_sub(5 * (i as u32 + 1));
            LETTERS[shift.map_or(0, |s| (bits >> s & 31) as usize)]
        })
    }

    /// Metres along the surface, by the haversine formula.
    pub fn distance(self, other: Point) -> f64 {
        let (lat1, lat2) = (radians(self.latitude), radians(other.latitude));
        let (lon1, lon2) = (radians(self.longitude), radians(other.longitude));
        let u = ((lat2 - lat1) / 2.0).sin();
        let v = ((lon2 - lon1) / 2.0).sin();
        2.0 * EARTH_RADIUS * (u * u + lat1.cos() * lat2.cos() * v * v).sqrt().asin()
    }
}

/// The bits of a score as C converts it on x86-64: a negative one is seen as its two's complement, one too large for 64
/// bits as nothing.
fn score_bits(score: f64) -> u64 {
    const HALF: f64 = (1u64 << 63) as f64;
    match score {
        _ if score < HALF => score as i64 as u64,
        _ if score < 2.0 * HALF => score as u64,
        _ => 0,
    }
}

/// What is looked for around a centre.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Form {
    /// Everything within this radius.
    Circle(f64),
    /// Everything in a rectangle of this width (east to west) and height.
    Rectangle(f64, f64),
}

/// A part of the surface.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    /// Its middle.
    pub center: Point,
    /// Its form, in units of `unit`.
    pub form: Form,
    /// Metres.
    pub unit: f64,
}

impl Area {
    /// Metres from the centre, if `point` is inside.
    pub fn distance(&self, point: Point) -> Option<f64> {
        let distance = self.center.distance(point);
        let outside = match self.form {
            Form::Circle(radius) => distance > radius * self.unit,
            Form::Rectangle(width, height) => {
                let east = point.distance(Point { longitude: self.center.longitude, ..point });
                let north = point.distance(Point { latitude: self.center.latitude, ..point });
                east > width * self.unit / 2.0 || north > height * self.unit / 2.0
            }
        };
        // What cannot be compared is inside.
        (!outside).then_some(distance)
    }

    /// The ranges of scores that cover it, in the order in which they are searched: that of the middle first, then
    /// those around it.
    pub fn ranges(&self) -> Vec<(f64, f64)> {
        let around = self.bounds();
        let mut cell = Cell::of(self.center, self.step(), MAX_LATITUDE);
        if cell.step > 1 && !covers(cell, &around) {
            cell = Cell::of(self.center, cell.step - 1, MAX_LATITUDE);
        }
        // Where the middle reaches far enough by itself, its neighbours on that side are left out.
        let own = cell.bounds();
        let fine = cell.step >= 2;
        let needed = |east: i32, north: i32| {
            let reached = north < 0 && own.south < around.south
                || north > 0 && own.north > around.north
                || east < 0 && own.west < around.west
                || east > 0 && own.east > around.east;
            !(fine && reached)
        };
        let mut cells = vec![cell];
        for (east, north) in [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)] {
            let next = cell.beside(east, north);
            // Of a map with few cells the one to the east is also the one to the west.
            let same = cells.len() > 1 && cells.last() == Some(&next);
            if needed(east, north) && !same {
                cells.push(next);
            }
        }
        cells.into_iter().map(Cell::scores).collect()
    }

    /// The coordinates within which everything lies.
    fn bounds(&self) -> Bounds {
        let (width, height) = match self.form {
            Form::Circle(radius) => (self.unit * radius, self.unit * radius),
            Form::Rectangle(width, height) => (self.unit * (width / 2.0), self.unit * (height / 2.0)),
        };
        let Point { longitude, latitude } = self.center;
        let lat_delta = degrees(height / EARTH_RADIUS);
        // Of its two edges the one that is closer to the pole spans more degrees.
        let edge = if latitude < 0.0 { latitude - lat_delta } else { latitude + lat_delta };
        let lon_delta = degrees(width / EARTH_RADIUS / radians(edge).cos());
        Bounds {
            west: longitude - lon_delta,
            east: longitude + lon_delta,
            south: latitude - lat_delta,
            north: latitude + lat_delta,
        }
    }

    /// How fine the cells may be so that nine of them cover the area, most often.
    fn step(&self) -> u32 {
        let reach = match self.form {
            Form::Circle(radius) => radius,
            Form::Rectangle(w, h) => ((w / 2.0) * (w / 2.0) + (h / 2.0) * (h / 2.0)).sqrt(),
        } * self.unit;
        if reach == 0.0 {
            return STEPS;
        }
        // How often it has to be doubled to span the map. What is tiny enough reaches the finest step in any case.
        let doublings = (0..64).take_while(|&n| reach * ((1u64 << n) as f64) < MERCATOR_MAX).count() as i32;
        // Towards the poles a cell spans fewer metres.
        let narrow = match self.center.latitude.abs() {
            l if l > 80.0 => 2,
            l if l > 66.0 => 1,
            _ => 0,
        };
        (doublings - 1 - narrow).clamp(1, STEPS as i32) as u32
    }
}

/// Whether a cell's neighbours reach as far as `around`.
fn covers(cell: Cell, around: &Bounds) -> bool {
    let short = cell.beside(0, 1).bounds().north < around.north
        || cell.beside(0, -1).bounds().south > around.south
        || cell.beside(1, 0).bounds().east < around.east
        || cell.beside(-1, 0).bounds().west > around.west;
    !short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rng::Rng;

    const PALERMO: Point = Point { longitude: 13.361389, latitude: 38.115556 };
    const CATANIA: Point = Point { longitude: 15.087269, latitude: 37.502669 };

    #[test]
    fn bits_are_spread_and_gathered() {
        let mut rng = Rng::new(3);
        for x in (0..1000).map(|_| rng.next_u64() as u32).chain([0, 1, u32::MAX]) {
            let wide = spread(x);
            assert_eq!((wide & !0x5555_5555_5555_5555, wide.count_ones()), (0, x.count_ones()));
            assert_eq!((gather(wide), gather(wide | wide << 1), gather(wide << 1)), (x, x, 0));
        }
    }

    /// What redis-server 7.0 answers.
    #[test]
    fn scores_and_texts_as_redis_has_them() {
        assert_eq!((PALERMO.score(), CATANIA.score()), (3479099956230698, 3479447370796909));
        assert_eq!(&Point::from_score(PALERMO.score() as f64).text(), b"sqc8b49rny0");
        for (score, lon, lat) in [
            (3479099956230698.0, "13.36138933897018433", "38.11555639549629859"),
            (-1.0, "180.00000000000000000", "85.05112877999999910"),
            (f64::INFINITY, "-179.99999731779098511", "-85.05112751263942528"),
            (4503599627370496.0, "-179.99999731779098511", "85.05112877999999910"),
        ] {
            let p = Point::from_score(score);
            assert_eq!(
                (format!("{:.17}", p.longitude).as_str(), format!("{:.17}", p.latitude).as_str()),
                (lon, lat)
            );
        }
        let stored = |p: Point| Point::from_score(p.score() as f64);
        assert_eq!(format!("{:.4}", stored(PALERMO).distance(stored(CATANIA))), "166274.1516");
        assert_eq!(Point::new(180.1, 0.0).or(Point::new(0.0, -85.06)).or(Point::new(f64::NAN, 0.0)), None);
    }

    /// Nothing that is inside may be missed, wherever on the map and however large the area is, as long as it does not
    /// reach over a pole (there Redis gives up, too).
    #[test]
    fn ranges_cover_the_area() {
        let mut rng = Rng::new(7);
        let mut unit = || rng.next_u64() as f64 / u64::MAX as f64;
        let mut inside = 0;
        for _ in 0..20_000 {
            let center = Point::new(unit() * 300.0 - 150.0, unit() * 120.0 - 60.0).unwrap();
            let size = 10f64.powf(unit() * 5.0);
            let form = if unit() < 0.5 { Form::Circle(size) } else { Form::Rectangle(size * 2.0, size) };
            let area = Area { center, form, unit: 10.0 };
            let ranges = area.ranges();
            assert!((1..=9).contains(&ranges.len()));
            let reach = size * 10.0 / 111_000.0;
            let shifted = |x: f64, by: f64| x + by * reach * 2.0;
            let point =
                Point::new(shifted(center.longitude, unit() - 0.5), shifted(center.latitude, unit() - 0.5));
            let Some(point) = point else { continue };
            let score = point.score() as f64;
            let point = Point::from_score(score);
            if area.distance(point).is_some() {
                inside += 1;
                assert!(ranges.iter().any(|&(from, to)| (from..to).contains(&score)), "{area:?} {point:?}");
            }
        }
        assert!(inside > 5000, "{inside}");
    }

    #[test]
    fn extreme_areas_end() {
        for reach in [0.0, f64::MIN_POSITIVE, 1e-30, 1e8, f64::MAX, f64::INFINITY] {
            for form in [Form::Circle(reach), Form::Rectangle(reach, reach), Form::Rectangle(0.0, reach)] {
                let area = Area { center: Point::new(180.0, 85.05112878).unwrap(), form, unit: 1609.34 };
                assert!((1..=9).contains(&area.ranges().len()));
            }
        }
    }
}
