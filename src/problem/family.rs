//! Families: what is written in RON ([`ProblemSpec`]) and how a problem is drawn from it.
//!
//! LASSO: `b_i = A_i (x° + h δ_i) + σ ε`, `A_i = s_i · N(0, 1)`, `x°` standard normal with a share `sparsity` of zeros,
//! `δ_i` standard normal on the support of `x°`, `s_i = exp(h u_i / 2)`, `u_i` standard normal; `h` is the heterogeneity:
//! at 0 all agents draw from one distribution, growing it moves their truths and their scales apart.
//! With `correlation` `ρ` the columns of a row follow each other, `a_k = ρ a_{k−1} + √(1−ρ²) N(0, 1)`: the larger, the worse the
//! conditioning. With `density` `p` only a share `p` of the features is not zero, scaled by `1/√p`: agents miss coordinates that
//! others have.
//! Logistic: the same with labels `sign(a·(x° + h δ_i) + σ ε)`.
//! `published: true` draws the LASSO as the public MiLoDo code does: it builds a sparse truth and then uses a dense one.

use super::{Loss, Problem, ProblemError, Regularizer, Shard};
use crate::data::{self, Column, Columns, Split};
use crate::random;
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What a sampled problem is for; problems of different roles never share a draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Meta-training.
    Train,
    /// Choosing the best checkpoint.
    Validation,
    /// Tuning step sizes of handcrafted methods.
    Tuning,
    /// Measuring.
    Test,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Tuning => "tuning",
            Self::Test => "test",
        }
    }
}

/// A problem or family of problems, as written in RON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum ProblemSpec {
    /// Least squares with a sparse truth.
    Lasso {
        /// `d`
        dimension: usize,
        /// Rows per agent, `m_i`.
        rows: usize,
        /// Weight of `‖x‖₁`.
        #[serde(default = "default_l1")]
        l1: f64,
        /// Weight of `‖x‖²/2`.
        #[serde(default)]
        l2: f64,
        /// Bounds of every coordinate.
        #[serde(default, rename = "box")]
        bounds: Option<(f64, f64)>,
        /// Standard deviation of the noise on `b`.
        #[serde(default = "default_noise")]
        noise: f64,
        /// Share of zeros in the truth.
        #[serde(default = "default_sparsity")]
        sparsity: f64,
        /// How different the agents' data are (0: one distribution).
        #[serde(default)]
        heterogeneity: f64,
        /// Correlation of neighbouring columns, at least 0 and below 1.
        #[serde(default)]
        correlation: f64,
        /// In place of `LeastSquares`.
        #[serde(default = "least_squares", skip_serializing_if = "is_least_squares")]
        loss: Loss,
        /// Share of features that are not zero, above 0 and at most 1.
        #[serde(default = "default_density", skip_serializing_if = "is_dense")]
        density: f64,
        /// Draw as the public MiLoDo code does (dense truth).
        #[serde(default)]
        published: bool,
    },
    /// Binary logistic regression with a sparse truth.
    Logistic {
        /// `d`
        dimension: usize,
        /// Rows per agent, `m_i`.
        rows: usize,
        /// Weight of `‖x‖₁`.
        #[serde(default = "default_l1")]
        l1: f64,
        /// Weight of `‖x‖²/2`.
        #[serde(default)]
        l2: f64,
        /// Bounds of every coordinate.
        #[serde(default, rename = "box")]
        bounds: Option<(f64, f64)>,
        /// Standard deviation of the noise on the margin.
        #[serde(default = "default_noise")]
        noise: f64,
        /// Share of zeros in the truth.
        #[serde(default = "default_sparsity")]
        sparsity: f64,
        /// How different the agents' data are (0: one distribution).
        #[serde(default)]
        heterogeneity: f64,
        /// Correlation of neighbouring columns, at least 0 and below 1.
        #[serde(default)]
        correlation: f64,
        /// In place of `Logistic`.
        #[serde(default = "logistic", skip_serializing_if = "is_logistic")]
        loss: Loss,
        /// Share of features that are not zero, above 0 and at most 1.
        #[serde(default = "default_density", skip_serializing_if = "is_dense")]
        density: f64,
    },
    /// A data set, its rows split over the agents.
    Data {
        /// LIBSVM or CSV file, possibly gzipped.
        path: PathBuf,
        /// `LeastSquares` or `Logistic`.
        loss: Loss,
        /// Weight of `‖x‖₁`.
        #[serde(default)]
        l1: f64,
        /// In place of `l1`: the weight as a share of `λ_max = ‖∇f(0)‖_∞`, `f = (1/n) Σ_i f_i`; at 1 the minimiser is 0.
        #[serde(default)]
        l1_share: Option<f64>,
        /// Weight of `‖x‖²/2`.
        #[serde(default)]
        l2: f64,
        /// Bounds of every coordinate.
        #[serde(default, rename = "box")]
        bounds: Option<(f64, f64)>,
        /// How rows are split over agents: `Even` (at random) or `Sorted` (by target: heterogeneous).
        #[serde(default)]
        split: Split,
        /// Columns to mean 0 and standard deviation 1.
        #[serde(default = "default_standardize")]
        standardize: bool,
        /// One class against the rest: rows of this class become +1, all others −1.
        #[serde(default)]
        positive: Option<f64>,
        /// Of a CSV file: whether line 1 is a header; found out if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        header: Option<bool>,
        /// Of a CSV file: the target's column, `"name"` or number from 0; the last if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<Column>,
        /// Of a CSV file: columns to leave out, `["name", 0]`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        skip: Option<Vec<Column>>,
    },
}

fn default_l1() -> f64 {
    0.1
}
fn default_noise() -> f64 {
    0.1
}
fn default_sparsity() -> f64 {
    0.75
}
fn least_squares() -> Loss {
    Loss::LeastSquares
}
fn logistic() -> Loss {
    Loss::Logistic
}
fn is_least_squares(loss: &Loss) -> bool {
    *loss == Loss::LeastSquares
}
fn is_logistic(loss: &Loss) -> bool {
    *loss == Loss::Logistic
}
fn default_density() -> f64 {
    1.0
}
/// Left out in files, so that hashes of recipes written before stay.
fn is_dense(density: &f64) -> bool {
    *density == 1.0
}
fn default_standardize() -> bool {
    true
}

/// The parameters of a family with targets (LASSO) or with labels (logistic).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Synthetic {
    /// Of labels for the logistic family, else for the LASSO.
    pub loss: Loss,
    /// `d`
    pub dimension: usize,
    /// Rows per agent, `m_i`.
    pub rows: usize,
    /// Weight of `‖x‖₁`.
    pub l1: f64,
    /// Weight of `‖x‖²/2`.
    pub l2: f64,
    /// Bounds of every coordinate.
    pub bounds: Option<(f64, f64)>,
    /// Standard deviation of the noise on `b`, or on the margin.
    pub noise: f64,
    /// Share of zeros in the truth.
    pub sparsity: f64,
    /// How different the agents' data are (0: one distribution).
    pub heterogeneity: f64,
    /// Correlation of neighbouring columns, at least 0 and below 1.
    pub correlation: f64,
    /// Share of features that are not zero, above 0 and at most 1.
    pub density: f64,
    /// Draw as the public MiLoDo code does (dense truth).
    pub published: bool,
}

impl std::fmt::Display for Synthetic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (family, usual) = match self.loss.labels() {
            false => ("Lasso", Loss::LeastSquares),
            true => ("Logistic", Loss::Logistic),
        };
        let (dimension, rows) = (self.dimension, self.rows);
        write!(
            f,
            "{family}(dimension: {dimension}, rows: {rows}, l1: {}",
            self.l1
        )?;
        self.write_rest_of_regularizer(f)?;
        if self.noise != default_noise() {
            write!(f, ", noise: {}", self.noise)?;
        }
        if self.sparsity != default_sparsity() {
            write!(f, ", sparsity: {}", self.sparsity)?;
        }
        if self.heterogeneity != 0.0 {
            write!(f, ", heterogeneity: {}", self.heterogeneity)?;
        }
        if self.correlation != 0.0 {
            write!(f, ", correlation: {}", self.correlation)?;
        }
        if self.loss != usual {
            write!(f, ", loss: {}", self.loss)?;
        }
        if self.density != default_density() {
            write!(f, ", density: {}", self.density)?;
        }
        if self.published {
            write!(f, ", published: true")?;
        }
        write!(f, ")")
    }
}

impl std::fmt::Display for ProblemSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parameters = self.parameters();
        let Self::Data {
            path,
            loss,
            l1_share,
            split,
            standardize,
            positive,
            header,
            target,
            skip,
            ..
        } = self
        else {
            return parameters.fmt(f);
        };
        write!(f, "Data(path: {:?}, loss: {loss}", path.to_string_lossy())?;
        match l1_share {
            Some(share) => write!(f, ", l1_share: {share}")?,
            None => write!(f, ", l1: {}", parameters.l1)?,
        }
        parameters.write_rest_of_regularizer(f)?;
        if *split != Split::default() {
            write!(f, ", split: {split:?}")?;
        }
        if !standardize {
            write!(f, ", standardize: false")?;
        }
        if let Some(class) = positive {
            write!(f, ", positive: {class}")?;
        }
        if let Some(header) = header {
            write!(f, ", header: {header}")?;
        }
        if let Some(target) = target {
            write!(f, ", target: {target}")?;
        }
        if let Some(skip) = skip {
            let all: Vec<String> = skip.iter().map(ToString::to_string).collect();
            write!(f, ", skip: [{}]", all.join(", "))?;
        }
        write!(f, ")")
    }
}

fn normal(rng: &mut random::Stream) -> f64 {
    StandardNormal.sample(rng)
}

/// The most feature numbers that a synthetic problem may hold (2 GiB of `f64`): a mistyped size gets a message instead of
/// an exhausted memory.
const MOST_NUMBERS: f64 = (1_u64 << 28) as f64;

impl Synthetic {
    /// The family of this size, every other parameter at its default in RON.
    pub fn new(loss: Loss, dimension: usize, rows: usize) -> Self {
        Self {
            loss,
            dimension,
            rows,
            l1: default_l1(),
            l2: 0.0,
            bounds: None,
            noise: default_noise(),
            sparsity: default_sparsity(),
            heterogeneity: 0.0,
            correlation: 0.0,
            density: default_density(),
            published: false,
        }
    }

    /// Draws the problem number `trial` for `agents` agents.
    ///
    /// # Errors
    /// Parameters outside their range.
    pub fn sample(
        &self,
        agents: usize,
        seed: u64,
        role: Role,
        trial: u64,
    ) -> Result<Problem, ProblemError> {
        let regularizer = self.regularizer()?;
        self.check(agents)?;
        let shards = self.shards(agents, seed, role, trial);
        Problem::new(
            self.to_string(),
            self.dimension,
            self.loss,
            shards,
            regularizer,
        )
    }

    fn regularizer(&self) -> Result<Regularizer, ProblemError> {
        Regularizer::new(self.l1, self.l2, self.bounds)
    }

    /// `l2` and `box` as in RON, after `l1`; what is 0 or absent is left out.
    fn write_rest_of_regularizer(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.l2 != 0.0 {
            write!(f, ", l2: {}", self.l2)?;
        }
        if let Some((lo, hi)) = self.bounds {
            write!(f, ", box: ({lo}, {hi})")?;
        }
        Ok(())
    }

    fn check(&self, agents: usize) -> Result<(), ProblemError> {
        let at_least_one = |name, v: usize| match v {
            0 => Err(ProblemError::parameter(name, v, "at least 1")),
            _ => Ok(()),
        };
        at_least_one("dimension", self.dimension)?;
        at_least_one("rows", self.rows)?;
        let numbers = agents as f64 * self.rows as f64 * self.dimension as f64;
        if numbers > MOST_NUMBERS {
            let found = format!("{numbers:.1e}");
            let expected = format!("at most {MOST_NUMBERS} numbers in all");
            return Err(ProblemError::parameter(
                "agents × rows × dimension",
                found,
                &expected,
            ));
        }
        for (name, v) in [("noise", self.noise), ("heterogeneity", self.heterogeneity)] {
            if !(v.is_finite() && v >= 0.0) {
                return Err(ProblemError::parameter(name, v, "a finite number ≥ 0"));
            }
        }
        if !(0.0..1.0).contains(&self.correlation) {
            return Err(ProblemError::parameter(
                "correlation",
                self.correlation,
                "at least 0 and below 1",
            ));
        }
        if !(self.density > 0.0 && self.density <= 1.0) {
            return Err(ProblemError::parameter(
                "density",
                self.density,
                "above 0 and at most 1",
            ));
        }
        if !(0.0..=1.0).contains(&self.sparsity) {
            return Err(ProblemError::parameter(
                "sparsity",
                self.sparsity,
                "between 0 and 1",
            ));
        }
        Ok(())
    }

    fn shards(&self, agents: usize, seed: u64, role: Role, trial: u64) -> Vec<Shard> {
        let d = self.dimension;
        // The same data whatever their loss.
        let family = match self.loss.labels() {
            false => "LeastSquares",
            true => "Logistic",
        };
        let purpose = |what: &str| format!("{family}/{}/{what}", role.name());
        let mut rng = random::stream(seed, &purpose("truth"), &[trial]);
        let mut truth: Vec<f64> = (0..d).map(|_| normal(&mut rng)).collect();
        let zeros = ((self.sparsity * d as f64) as usize).min(d);
        if !self.published {
            // Choose `zeros` coordinates without replacement (partial Fisher–Yates).
            let mut order: Vec<usize> = (0..d).collect();
            for k in 0..zeros {
                order.swap(k, rng.random_range(k..d));
                truth[order[k]] = 0.0;
            }
        }
        (0..agents)
            .map(|i| {
                let mut rng = random::stream(seed, &purpose("agent"), &[trial, i as u64]);
                let scale = (0.5 * self.heterogeneity * normal(&mut rng)).exp();
                let local: Vec<f64> = truth
                    .iter()
                    .map(|&t| {
                        let offset = self.heterogeneity * normal(&mut rng);
                        if t == 0.0 { 0.0 } else { t + offset }
                    })
                    .collect();
                let fresh = scale * (1.0 - self.correlation * self.correlation).sqrt();
                let mut shard = Shard {
                    features: Vec::with_capacity(self.rows * d),
                    targets: Vec::with_capacity(self.rows),
                };
                for _ in 0..self.rows {
                    let start = shard.features.len();
                    let mut last = scale * normal(&mut rng);
                    shard.features.push(last);
                    for _ in 1..d {
                        last = self.correlation * last + fresh * normal(&mut rng);
                        shard.features.push(last);
                    }
                    if self.density < 1.0 {
                        // What stays keeps the mean square of a row.
                        let kept = 1.0 / self.density.sqrt();
                        for feature in &mut shard.features[start..] {
                            *feature *= if rng.random_bool(self.density) {
                                kept
                            } else {
                                0.0
                            };
                        }
                    }
                    let clean = crate::field::dot(&shard.features[start..], &local);
                    let observed = clean + self.noise * normal(&mut rng);
                    shard
                        .targets
                        .push(match (self.loss.labels(), observed > 0.0) {
                            (false, _) => observed,
                            (true, true) => 1.0,
                            (true, false) => -1.0,
                        });
                }
                shard
            })
            .collect()
    }
}

impl ProblemSpec {
    /// Draws the problem number `trial` of a family for `agents` agents.
    ///
    /// A data set has one test problem, all its rows, split by `seed`. Tuning sees the same rows split otherwise (whoever tunes a
    /// method has the data); training, and tuning where targets are sorted and hardly ever equal so that there is one split only,
    /// see rows resampled with replacement.
    ///
    /// # Errors
    /// Parameters outside their range, an unreadable or unsuitable data file, more agents than rows.
    pub fn sample(
        &self,
        agents: usize,
        seed: u64,
        role: Role,
        trial: u64,
    ) -> Result<Problem, ProblemError> {
        self.check_loss()?;
        let parameters = self.parameters();
        let Self::Data {
            path,
            loss,
            l1_share,
            split,
            standardize,
            positive,
            header,
            target,
            skip,
            ..
        } = self
        else {
            return parameters.sample(agents, seed, role, trial);
        };
        let regularizer = parameters.regularizer()?;
        if let Some(share) = *l1_share {
            if parameters.l1 != 0.0 {
                let found = format!("{share} beside l1: {}", parameters.l1);
                return Err(ProblemError::parameter("l1_share", found, "one of the two"));
            }
            if !(share.is_finite() && share >= 0.0) {
                return Err(ProblemError::parameter(
                    "l1_share",
                    share,
                    "a finite share ≥ 0",
                ));
            }
        }
        let columns = Columns {
            header: *header,
            target: target.clone(),
            skip: skip.clone(),
        };
        let mut set = data::read_as(path, &columns)?;
        data::say_once(path, &set.notes);
        if let Some(class) = positive {
            if !set.targets.contains(class) {
                let expected = format!("a label that occurs in {}", path.display());
                return Err(ProblemError::parameter("positive", class, &expected));
            }
            let label = |b: &f64| if b == class { 1.0 } else { -1.0 };
            set.targets = set.targets.iter().map(label).collect();
        }
        if loss.labels() {
            set.binary_targets()?;
        }
        let key = || random::stream(seed, role.name(), &[trial]).random();
        let one_split = *split == Split::Sorted && !loss.labels();
        let mut split_by = seed;
        match role {
            Role::Test => {}
            Role::Tuning if !one_split => split_by = key(),
            _ => set = set.bootstrap(key()),
        }
        if *standardize {
            set.standardize();
        }
        let parts = data::partition(&set.targets, agents, *split, split_by)?;
        let shards = parts
            .iter()
            .map(|rows| Shard {
                features: rows.iter().flat_map(|&r| set.row(r)).copied().collect(),
                targets: rows.iter().map(|&r| set.targets[r]).collect(),
            })
            .collect();
        let mut problem = Problem::new(self.to_string(), set.columns, *loss, shards, regularizer)?;
        if let Some(share) = l1_share {
            problem.regularizer.l1 = share * problem.l1_max();
        }
        Ok(problem)
    }

    /// Whether the loss goes with the family's targets.
    fn check_loss(&self) -> Result<(), ProblemError> {
        let (loss, labels) = match self {
            Self::Lasso { loss, .. } => (loss, false),
            Self::Logistic { loss, .. } => (loss, true),
            Self::Data { .. } => return Ok(()),
        };
        if loss.labels() == labels {
            return Ok(());
        }
        let expected = match labels {
            true => "a loss of labels (Logistic, SquaredHinge); the family Lasso has the others",
            false => "a loss of numbers; the family Logistic has those of labels",
        };
        Err(ProblemError::parameter("loss", loss, expected))
    }

    /// The parameters; of a data set those it shares with the families, the sizes 0.
    fn parameters(&self) -> Synthetic {
        match *self {
            Self::Lasso {
                dimension,
                rows,
                l1,
                l2,
                bounds,
                noise,
                sparsity,
                heterogeneity,
                correlation,
                loss,
                density,
                published,
            } => Synthetic {
                loss,
                dimension,
                rows,
                l1,
                l2,
                bounds,
                noise,
                sparsity,
                heterogeneity,
                correlation,
                density,
                published,
            },
            Self::Logistic {
                dimension,
                rows,
                l1,
                l2,
                bounds,
                noise,
                sparsity,
                heterogeneity,
                correlation,
                loss,
                density,
            } => Synthetic {
                l1,
                l2,
                bounds,
                noise,
                sparsity,
                heterogeneity,
                correlation,
                density,
                ..Synthetic::new(loss, dimension, rows)
            },
            Self::Data {
                loss,
                l1,
                l2,
                bounds,
                ..
            } => Synthetic {
                l1,
                l2,
                bounds,
                ..Synthetic::new(loss, 0, 0)
            },
        }
    }

    /// Whether the problem is a file (one test problem) rather than a family.
    pub fn is_data(&self) -> bool {
        matches!(self, Self::Data { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lasso(heterogeneity: f64) -> Synthetic {
        Synthetic {
            noise: 0.0,
            heterogeneity,
            ..Synthetic::new(Loss::LeastSquares, 40, 50)
        }
    }

    /// Unregularized, without noise, the minimiser is the truth: sparse when done right, dense as published.
    #[test]
    fn b_comes_from_the_sparse_truth_unless_published() {
        for (published, nonzeros) in [(false, 10), (true, 40)] {
            let spec = Synthetic {
                l1: 0.0,
                published,
                ..lasso(0.0)
            };
            let problem = spec.sample(4, 1, Role::Test, 0).unwrap();
            let optimum = super::super::optimum::solve(&problem).unwrap();
            assert!(optimum.objective < 1e-20);
            let found = optimum.x.iter().filter(|v| v.abs() > 1e-6).count();
            assert_eq!(found, nonzeros);
        }
    }

    #[test]
    fn roles_and_trials_are_apart_and_seeds_repeat() {
        let first = |seed, role, trial| {
            lasso(0.5).sample(3, seed, role, trial).unwrap().shards()[0].features[0]
        };
        assert_eq!(first(1, Role::Test, 0), first(1, Role::Test, 0));
        let all = [
            first(1, Role::Test, 0),
            first(2, Role::Test, 0),
            first(1, Role::Test, 1),
            first(1, Role::Train, 0),
            first(1, Role::Tuning, 0),
            first(1, Role::Validation, 0),
        ];
        for (k, a) in all.iter().enumerate() {
            assert!(all[..k].iter().all(|b| a != b));
        }
    }

    #[test]
    fn heterogeneity_spreads_the_smoothness() {
        let spread = |h| {
            let p = lasso(h).sample(20, 1, Role::Test, 0).unwrap();
            let l: Vec<f64> = (0..20).map(|i| p.smoothness(i)).collect();
            l.iter().copied().fold(0.0, f64::max) / l.iter().copied().fold(f64::MAX, f64::min)
        };
        assert!(spread(1.0) > 3.0 * spread(0.0));
    }

    /// From λ_max on the minimiser is 0, below it is not.
    #[test]
    fn a_share_of_one_is_where_the_minimiser_leaves_zero() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/datasets/ionosphere.libsvm.gz");
        let nonzeros = |share| {
            let spec = ProblemSpec::Data {
                path: path.into(),
                loss: Loss::Logistic,
                l1: 0.0,
                l1_share: Some(share),
                l2: 0.0,
                bounds: None,
                split: Split::Sorted,
                standardize: true,
                positive: None,
                header: None,
                target: None,
                skip: None,
            };
            let problem = spec.sample(7, 1, Role::Test, 0).unwrap();
            assert!(problem.name().contains(&format!("l1_share: {share}, ")));
            super::super::optimum::solve(&problem).unwrap().nonzeros
        };
        assert_eq!(nonzeros(1.001), 0);
        assert_eq!(nonzeros(0.999), 1);
    }

    #[test]
    fn neighbouring_columns_are_correlated() {
        let problem = Synthetic {
            correlation: 0.8,
            ..lasso(0.0)
        }
        .sample(20, 1, Role::Test, 0)
        .unwrap();
        let (mut products, mut squares, mut count) = (0.0, 0.0, 0.0);
        for row in problem
            .shards()
            .iter()
            .flat_map(|s| s.features.chunks_exact(40))
        {
            for pair in row.windows(2) {
                products += pair[0] * pair[1];
                squares += pair[0] * pair[0];
                count += 1.0;
            }
        }
        assert!((products / squares - 0.8_f64).abs() < 0.02);
        assert!((squares / count - 1.0_f64).abs() < 0.05);
    }

    #[test]
    fn bad_parameters_are_named() {
        let spec = Synthetic::new(Loss::Logistic, 0, 1);
        assert!(
            spec.sample(2, 1, Role::Test, 0)
                .unwrap_err()
                .to_string()
                .contains("dimension is 0")
        );
    }
}
