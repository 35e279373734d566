//! Field arithmetic that leaves numbers below twice the field's order.
//!
//! `ark-ff` brings each result below the order p by comparing and subtracting: a branch on what looks like random bits,
//! which the processor guesses wrongly half the time. Montgomery's product of two numbers below 2p is below 2p again if
//! 4p is below 2^256, and a difference is brought back by its sign, without a branch. The numbers are the same as in
//! `ark-ff` but for a p that may be too much, so that nothing is converted. What it brings: docs/decisions/0027.

use std::fmt;
use std::marker::PhantomData;

use ark_bn254::{Fq, Fq2};
use ark_ff::{BigInt, Field, Fp, MontBackend, MontConfig};

/// A number of four limbs, the lowest first.
type Limbs = [u64; 4];

/// A field whose elements have a loose form.
pub trait Loosely: Field {
    /// That form.
    type Loose: Loose<Exact = Self>;
}

/// An element in its loose form.
pub trait Loose: Copy + Send + Sync + fmt::Debug {
    /// The field.
    type Exact: Field;
    /// 0.
    const ZERO: Self;

    /// From the exact form.
    fn of(exact: &Self::Exact) -> Self;
    /// Back to it.
    fn exact(&self) -> Self::Exact;
    /// Whether it is 0 or p.
    fn is_zero(&self) -> bool;
    /// The sum.
    fn plus(&self, other: &Self) -> Self;
    /// The difference.
    fn minus(&self, other: &Self) -> Self;
    /// The product.
    fn times(&self, other: &Self) -> Self;
    /// The product with itself.
    fn squared(&self) -> Self {
        self.times(self)
    }
}

/// An element of a prime field, below 2p, times 2^256 (Montgomery's form).
pub struct Prime<T>(Limbs, PhantomData<T>);

impl<T> Clone for Prime<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Prime<T> {}

impl<T> fmt::Debug for Prime<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: MontConfig<4>> Loosely for Fp<MontBackend<T, 4>, 4> {
    type Loose = Prime<T>;
}

impl Loosely for Fq2 {
    type Loose = Quadratic;
}

/// a + b without what does not fit: there is nothing, where this is used.
#[inline(always)]
fn add(a: &Limbs, b: &Limbs) -> Limbs {
    let (s0, carry) = a[0].overflowing_add(b[0]);
    let (s1, carry) = a[1].carrying_add(b[1], carry);
    let (s2, carry) = a[2].carrying_add(b[2], carry);
    let (s3, _) = a[3].carrying_add(b[3], carry);
    [s0, s1, s2, s3]
}

/// a - b, modulo 2^256.
#[inline(always)]
fn sub(a: &Limbs, b: &Limbs) -> Limbs {
    let (d0, borrow) = a[0].overflowing_sub(b[0]);
    let (d1, borrow) = a[1].borrowing_sub(b[1], borrow);
    let (d2, borrow) = a[2].borrowing_sub(b[2], borrow);
    let (d3, _) = a[3].borrowing_sub(b[3], borrow);
    [d0, d1, d2, d3]
}

/// a, or a + b if a, as a number with a sign, is negative.
#[inline(always)]
fn positive(a: &Limbs, b: &Limbs) -> Limbs {
    let mask = ((a[3] as i64) >> 63) as u64;
    add(a, &[b[0] & mask, b[1] & mask, b[2] & mask, b[3] & mask])
}

/// The product of two numbers, low half first.
#[inline(always)]
fn wide(a: &Limbs, b: &Limbs) -> [Limbs; 2] {
    let mut r = [0u64; 8];
    for i in 0..4 {
        let mut carry = 0;
        for j in 0..4 {
            (r[i + j], carry) = a[j].carrying_mul_add(b[i], r[i + j], carry);
        }
        r[i + 4] = carry;
    }
    [[r[0], r[1], r[2], r[3]], [r[4], r[5], r[6], r[7]]]
}

/// a - b of two products, modulo 2^512.
#[inline(always)]
fn sub_wide(a: &[Limbs; 2], b: &[Limbs; 2]) -> [Limbs; 2] {
    let mut low = [0; 4];
    let mut high = [0; 4];
    let mut borrow = false;
    for i in 0..4 {
        (low[i], borrow) = a[0][i].borrowing_sub(b[0][i], borrow);
    }
    for i in 0..4 {
        (high[i], borrow) = a[1][i].borrowing_sub(b[1][i], borrow);
    }
    [low, high]
}

impl<T: MontConfig<4>> Prime<T> {
    const P: Limbs = {
        let p = T::MODULUS.0;
        assert!(p[3] < 1 << 62, "4p is below 2^256");
        p
    };
    const TWICE_P: Limbs = {
        let p = Self::P;
        [p[0] << 1, p[1] << 1 | p[0] >> 63, p[2] << 1 | p[1] >> 63, p[3] << 1 | p[2] >> 63]
    };

    const fn new(limbs: Limbs) -> Self {
        Self(limbs, PhantomData)
    }

    /// A product over 2^256, modulo p: below 2p if the product is below p 2^256.
    #[inline(always)]
    fn reduced([low, high]: [Limbs; 2]) -> Self {
        let [mut r, mut rest] = [low, high];
        let mut top = false;
        for next in &mut rest {
            let k = r[0].wrapping_mul(T::INV);
            let (_, mut carry) = k.carrying_mul_add(Self::P[0], r[0], 0);
            for j in 1..4 {
                (r[j - 1], carry) = k.carrying_mul_add(Self::P[j], r[j], carry);
            }
            (r[3], top) = next.carrying_add(carry, top);
        }
        Self::new(r)
    }
}

impl<T: MontConfig<4>> Loose for Prime<T> {
    type Exact = Fp<MontBackend<T, 4>, 4>;
    const ZERO: Self = Self::new([0; 4]);

    #[inline(always)]
    fn of(exact: &Self::Exact) -> Self {
        Self::new(exact.0.0)
    }

    #[inline(always)]
    fn exact(&self) -> Self::Exact {
        Fp::new_unchecked(BigInt(positive(&sub(&self.0, &Self::P), &Self::P)))
    }

    #[inline(always)]
    fn is_zero(&self) -> bool {
        self.0 == [0; 4] || self.0 == Self::P
    }

    #[inline(always)]
    fn plus(&self, other: &Self) -> Self {
        Self::new(positive(&sub(&add(&self.0, &other.0), &Self::TWICE_P), &Self::TWICE_P))
    }

    #[inline(always)]
    fn minus(&self, other: &Self) -> Self {
        Self::new(positive(&sub(&self.0, &other.0), &Self::TWICE_P))
    }

    /// Montgomery's product, limb by limb (Acar's CIOS): of numbers below 2p it is below 4p^2 / 2^256 + p, and before the
    /// last limb below 3p.
    #[inline(always)]
    fn times(&self, other: &Self) -> Self {
        let mut r = [0u64; 4];
        for b in other.0 {
            let (first, mut carry) = self.0[0].carrying_mul_add(b, r[0], 0);
            let k = first.wrapping_mul(T::INV);
            let (_, mut reducing) = k.carrying_mul_add(Self::P[0], first, 0);
            for j in 1..4 {
                let sum;
                (sum, carry) = self.0[j].carrying_mul_add(b, r[j], carry);
                (r[j - 1], reducing) = k.carrying_mul_add(Self::P[j], sum, reducing);
            }
            r[3] = carry + reducing;
        }
        Self::new(r)
    }
}

/// An element a + bu of the field that G2's coordinates are in; u^2 = -1.
#[derive(Clone, Copy, Debug)]
pub struct Quadratic([Prime<ark_bn254::FqConfig>; 2]);

impl Loose for Quadratic {
    type Exact = Fq2;
    const ZERO: Self = Self([Prime::ZERO; 2]);

    #[inline(always)]
    fn of(exact: &Fq2) -> Self {
        Self([Prime::of(&exact.c0), Prime::of(&exact.c1)])
    }

    #[inline(always)]
    fn exact(&self) -> Fq2 {
        let [real, imaginary]: [Fq; 2] = self.0.each_ref().map(Prime::exact);
        Fq2::new(real, imaginary)
    }

    #[inline(always)]
    fn is_zero(&self) -> bool {
        self.0.iter().all(Prime::is_zero)
    }

    #[inline(always)]
    fn plus(&self, other: &Self) -> Self {
        Self([self.0[0].plus(&other.0[0]), self.0[1].plus(&other.0[1])])
    }

    #[inline(always)]
    fn minus(&self, other: &Self) -> Self {
        Self([self.0[0].minus(&other.0[0]), self.0[1].minus(&other.0[1])])
    }

    /// Karatsuba's three products, of which two sums are reduced.
    #[inline(always)]
    fn times(&self, other: &Self) -> Self {
        let p = &Prime::<ark_bn254::FqConfig>::P;
        let ([a0, a1], [b0, b1]) = (&self.0, &other.0);
        let (real, imaginary) = (wide(&a0.0, &b0.0), wide(&a1.0, &b1.0));
        // Sums below 4p, that fit without being reduced.
        let both = wide(&add(&a0.0, &a1.0), &add(&b0.0, &b1.0));
        // Above -4p^2, and p 2^256 is more.
        let [low, high] = sub_wide(&real, &imaginary);
        let c0 = Prime::reduced([low, positive(&high, p)]);
        // Below 8p^2, which is less than 2p 2^256.
        let [low, high] = sub_wide(&sub_wide(&both, &real), &imaginary);
        let c1 = Prime::reduced([low, positive(&sub(&high, p), p)]);
        Self([c0, c1])
    }

    #[inline(always)]
    fn squared(&self) -> Self {
        let [a, b] = &self.0;
        let product = a.times(b);
        Self([a.plus(b).times(&a.minus(b)), product.plus(&product)])
    }
}

/// The inverses of many elements, with one inversion (Montgomery's trick); 0 for 0.
pub fn invert_all<L: Loose>(elements: &mut [L], products: &mut Vec<L>) {
    products.clear();
    let mut product = L::of(&L::Exact::ONE);
    for element in elements.iter().filter(|element| !element.is_zero()) {
        products.push(product);
        product = product.times(element);
    }
    // A product of what is not 0.
    let Some(inverse) = product.exact().inverse() else { return };
    let mut inverse = L::of(&inverse);
    let nonzero = elements.iter_mut().rev().filter(|element| !element.is_zero());
    for (element, before) in nonzero.zip(products.iter().rev()) {
        let next = inverse.times(element);
        *element = inverse.times(before);
        inverse = next;
    }
}

#[cfg(test)]
mod tests {
    use ark_bn254::Fr;
    use ark_ff::{AdditiveGroup, UniformRand};
    use ark_std::rand::{SeedableRng, rngs::StdRng};

    use super::*;

    /// Loose forms of an element: as it is, and with p more.
    trait Forms: Loosely {
        fn forms(&self) -> Vec<Self::Loose>;
    }

    impl<T: MontConfig<4>> Forms for Fp<MontBackend<T, 4>, 4> {
        fn forms(&self) -> Vec<Prime<T>> {
            vec![Prime::new(self.0.0), Prime::new(add(&self.0.0, &Prime::<T>::P))]
        }
    }

    impl Forms for Fq2 {
        fn forms(&self) -> Vec<Quadratic> {
            let both = |real| self.c1.forms().into_iter().map(move |imaginary| Quadratic([real, imaginary]));
            self.c0.forms().into_iter().flat_map(both).collect()
        }
    }

    fn agrees<F: Forms>(elements: &[F]) {
        for (a, b) in elements.iter().flat_map(|a| elements.iter().map(move |b| (a, b))) {
            for (x, y) in a.forms().into_iter().flat_map(|x| b.forms().into_iter().map(move |y| (x, y))) {
                assert_eq!(x.plus(&y).exact(), *a + b);
                assert_eq!(x.minus(&y).exact(), *a - b);
                assert_eq!(x.times(&y).exact(), *a * b);
                assert_eq!(x.squared().exact(), a.square());
                assert_eq!(x.minus(&y).is_zero(), a == b);
                // What comes out can go in again.
                let more = x.times(&y).plus(&x.minus(&y)).squared();
                assert_eq!(more.times(&y).exact(), (*a * b + *a - b).square() * b);
            }
        }
        let mut loose: Vec<F::Loose> = elements.iter().flat_map(F::forms).collect();
        let expected: Vec<F> = loose.iter().map(|x| x.exact().inverse().unwrap_or(F::ZERO)).collect();
        invert_all(&mut loose, &mut Vec::new());
        assert_eq!(loose.iter().map(Loose::exact).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn results_are_those_of_ark_ff() {
        let mut random = StdRng::seed_from_u64(6);
        let mut numbers = vec![Fq::ZERO, Fq::ONE, -Fq::ONE, Fq::ONE.double(), -Fq::ONE.double()];
        // Numbers whose form times 2^256 is close to 0 and to p.
        numbers.extend([1, 2, u64::MAX].map(|low| Fq::new_unchecked(BigInt([low, 0, 0, 0]))));
        numbers.extend([1, 2, u64::MAX].map(|low| -Fq::new_unchecked(BigInt([low, 0, 0, 0]))));
        numbers.extend((0..40).map(|_| Fq::rand(&mut random)));
        agrees(&numbers);
        let few: Vec<Fq> = numbers.iter().take(13).copied().collect();
        agrees(&few.iter().flat_map(|a| few.iter().map(|b| Fq2::new(*a, *b))).step_by(3).collect::<Vec<_>>());
        agrees(&[Fr::ZERO, Fr::ONE, -Fr::ONE, Fr::rand(&mut random), Fr::rand(&mut random)]);
    }
}
