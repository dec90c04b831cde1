//! `ln`, `exp` and `tanh` in f32 without branches, so that a loop over lanes becomes SIMD.
//!
//! Cephes polynomials (Moshier) and the rational tanh of Eigen; relative error below 3e-7, absolute near zero of `ln`.
//! Coefficients need no more: a rule's limit is exact whatever its networks output.

use pulp::Simd;

/// Natural logarithm for positive normal numbers.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    // x = m · 2^e with m in [√½, √2)
    let shifted = bits.wrapping_sub(0x3f35_04f3);
    let e = (shifted as i32) >> 23;
    let m = f32::from_bits(bits.wrapping_sub((e << 23) as u32)) - 1.0;
    let z = m * m;
    let mut p = 7.037_683_6e-2;
    for c in [
        -1.151_461e-1,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_8e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ] {
        p = p * m + c;
    }
    let e = e as f32;
    let tail = p * m * z + e * -2.121_944_4e-4 - 0.5 * z;
    m + tail + e * 0.693_359_4
}

/// Exponential; saturates beyond ±87.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 87.0);
    let n = (x * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for c in [
        1.398_2e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = p * r + c;
    }
    let value = p * r * r + r + 1.0;
    value * f32::from_bits((((n as i32) + 127) << 23) as u32)
}

/// Beyond this `tanh` is ±1 in f32.
const TANH_LIMIT: f32 = 7.905;
/// Numerator and denominator of `tanh(x)/x` in powers of `x²`, highest first.
const TANH_P: [f32; 7] = [
    -2.760_768_5e-16,
    2.000_188e-13,
    -8.604_672e-11,
    5.122_297_1e-8,
    1.485_722_4e-5,
    6.372_619_3e-4,
    4.893_525e-3,
];
const TANH_Q: [f32; 4] = [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3];

/// Hyperbolic tangent, one number: what [`tanh_all`] is tested against.
#[cfg(test)]
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let x = x.clamp(-TANH_LIMIT, TANH_LIMIT);
    let z = x * x;
    let polynomial = |c: &[f32]| c[1..].iter().fold(c[0], |p, c| p * z + c);
    x * polynomial(&TANH_P) / polynomial(&TANH_Q)
}

#[inline(always)]
fn tanh_vector<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let constant = |c: f32| simd.splat_f32s(c);
    let x = simd.max_f32s(
        simd.min_f32s(x, constant(TANH_LIMIT)),
        constant(-TANH_LIMIT),
    );
    let z = simd.mul_f32s(x, x);
    let polynomial = |c: &[f32]| {
        let first = constant(c[0]);
        c[1..]
            .iter()
            .fold(first, |p, c| simd.mul_add_e_f32s(p, z, constant(*c)))
    };
    simd.div_f32s(simd.mul_f32s(x, polynomial(&TANH_P)), polynomial(&TANH_Q))
}

/// `tanh` of every number, a register at a time; their count is a multiple of the register's.
#[inline(always)]
pub(crate) fn tanh_all<S: Simd>(simd: S, values: &mut [f32]) {
    for x in S::as_mut_simd_f32s(values).0 {
        *x = tanh_vector(simd, *x);
    }
}

/// `2ˣ` of every number, saturated beyond ±30; relative error below 3e-7, exact at 0. Their count is a multiple of a register's.
#[inline(always)]
#[cfg_attr(not(feature = "cpu"), allow(dead_code))]
pub(crate) fn exp2_all<S: Simd>(simd: S, values: &mut [f32]) {
    let (pairs, last) = S::as_mut_simd_f32s(values).0.as_chunks_mut::<2>();
    for pair in pairs {
        *pair = exp2(simd, *pair);
    }
    if let [x] = last {
        [*x] = exp2(simd, [*x]);
    }
}

/// See [`exp2_all`]; step by step for all, so that one does not wait for itself alone.
#[inline(always)]
fn exp2<S: Simd, const N: usize>(simd: S, mut x: [S::f32s; N]) -> [S::f32s; N] {
    let constant = |c: f32| simd.splat_f32s(c);
    // Adding 1.5·2²³ rounds to an integer and leaves it in the lowest bits.
    let round = constant(12_582_912.0);
    let mut rounded = [round; N];
    for k in 0..N {
        x[k] = simd.max_f32s(constant(-30.0), simd.min_f32s(constant(30.0), x[k]));
        rounded[k] = simd.add_f32s(x[k], round);
        x[k] = simd.sub_f32s(x[k], simd.sub_f32s(rounded[k], round));
    }
    let mut power = [constant(EXP2[0]); N];
    for c in &EXP2[1..] {
        for k in 0..N {
            power[k] = simd.mul_add_e_f32s(power[k], x[k], constant(*c));
        }
    }
    for k in 0..N {
        let bits = simd.transmute_u32s_f32s(rounded[k]);
        let exponent = simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(23));
        let sum = simd.add_u32s(simd.transmute_u32s_f32s(power[k]), exponent);
        power[k] = simd.transmute_f32s_u32s(sum);
    }
    power
}

/// Coefficients of `2ʳ` on `[−½, ½]`, best in the maximum norm among those with `2⁰ = 1`; highest first.
#[allow(clippy::approx_constant)] // The best first coefficient is not quite ln 2.
const EXP2: [f32; 6] = [
    1.326_472_2e-3,
    9.671_513e-3,
    5.550_734e-2,
    0.240_222_42,
    0.693_147,
    1.0,
];

#[cfg(test)]
mod tests {
    use pulp::Simd;

    struct Exp2(Vec<f32>);

    impl pulp::WithSimd for Exp2 {
        type Output = Vec<f32>;
        #[inline(always)]
        fn with_simd<S: Simd>(mut self, simd: S) -> Vec<f32> {
            super::exp2_all(simd, &mut self.0);
            self.0
        }
    }

    #[test]
    fn powers_of_two_make_gates() {
        let x: Vec<f32> = (-4000..4000).map(|k| k as f32 * 0.01).collect();
        let simd = pulp::Arch::new().dispatch(Exp2(x.clone()));
        let scalar = pulp::Scalar::new().vectorize(Exp2(x.clone()));
        for powers in [simd, scalar] {
            for (x, p) in x.iter().zip(powers) {
                let exact = f64::from(x.clamp(-30.0, 30.0)).exp2();
                assert!((f64::from(p) / exact - 1.0).abs() < 3e-7, "2^{x}");
                let exact = f64::from(*x).exp2();
                let sigmoid = f64::from(1.0 / (1.0 + p)) - 1.0 / (1.0 + exact);
                let tanh = f64::from((1.0 - p) / (1.0 + p)) - (1.0 - exact) / (1.0 + exact);
                assert!(sigmoid.abs() < 2e-7 && tanh.abs() < 3e-7, "gates at {x}");
                assert!(*x != 0.0 || p == 1.0);
            }
        }
    }

    #[test]
    fn close_to_the_standard_library() {
        for k in -4000..=4000 {
            let x = k as f32 * 0.02;
            assert!(
                (super::exp(x) / (x as f64).exp() as f32 - 1.0).abs() < 4e-7,
                "exp {x}"
            );
            assert!(
                (super::tanh(x) - (x as f64).tanh() as f32).abs() < 4e-7,
                "tanh {x}"
            );
            let p = (x as f64).exp() as f32;
            if p.is_normal() {
                let error = (super::ln(p) as f64 - (p as f64).ln()).abs();
                assert!(error < 4e-7 * (1.0 + x.abs() as f64), "ln {p}");
            }
        }
        assert!(super::ln(1.0) == 0.0 && super::tanh(0.0) == 0.0 && super::exp(0.0) == 1.0);
    }
}
