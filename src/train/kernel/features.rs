//! What the networks of `shared` see, in one pass over an agent's or edge's rows: [`crate::rule::features`] itself, which the
//! simulator runs too. Forward only: for training that does not differentiate through the features. CPU only; elsewhere they are
//! tensor operations.

use super::Features;
use crate::problem::Regularizer;
use crate::rule::features::Common;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
use std::sync::Arc;

/// Smaller and larger end of every edge row.
pub type Ends = Arc<[(usize, usize)]>;

#[backend_extension(Flex: cfg(feature = "cpu"))]
pub(super) trait FeatureOps: Backend {
    #[allow(clippy::too_many_arguments)]
    #[cfg_attr(not(feature = "cpu"), allow(unused_variables))]
    fn node_features(
        x: FloatTensor<Self>,
        x_last: FloatTensor<Self>,
        x_older: FloatTensor<Self>,
        y: FloatTensor<Self>,
        y_last: FloatTensor<Self>,
        g: FloatTensor<Self>,
        g_last: FloatTensor<Self>,
        smoothness: FloatTensor<Self>,
        conditioning: FloatTensor<Self>,
        memory: FloatTensor<Self>,
        regularizer: Regularizer,
        common: Common,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    #[cfg_attr(not(feature = "cpu"), allow(unused_variables))]
    fn edge_features(
        d: FloatTensor<Self>,
        d_last: FloatTensor<Self>,
        flow: FloatTensor<Self>,
        z: FloatTensor<Self>,
        shared: FloatTensor<Self>,
        smoothness: FloatTensor<Self>,
        ends: Ends,
        conditioning: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// Node features and the next memory `[rows, 3]`. `x`: the iterate and the two before it, `y` and `g` the last two, `[rows, d]`;
/// `smoothness`: `[rows, 1]`; `conditioning`: `[rows, 2]`; `memory`: `[rows, 3]`, in the order of
/// [`crate::rule::features::NodeMemory`].
#[allow(clippy::too_many_arguments)]
pub fn node(
    x: [Tensor<2>; 3],
    y: [Tensor<2>; 2],
    g: [Tensor<2>; 2],
    smoothness: Tensor<2>,
    conditioning: Tensor<2>,
    memory: Tensor<2>,
    regularizer: Regularizer,
    common: Common,
) -> (Features, Tensor<2>) {
    let plain = |t: Tensor<2>| t.inner().into_dispatch();
    let [x, x_last, x_older] = x.map(plain);
    let ([y, y_last], [g, g_last]) = (y.map(plain), g.map(plain));
    let (varying, shared, next) = <Dispatch as FeatureOps>::node_features(
        x,
        x_last,
        x_older,
        y,
        y_last,
        g,
        g_last,
        plain(smoothness),
        plain(conditioning),
        plain(memory),
        regularizer,
        common,
    );
    let features = Features {
        varying: Tensor::from_dispatch(varying),
        shared: Tensor::from_dispatch(shared),
    };
    (features, Tensor::from_dispatch(next))
}

/// Edge features. `d`: `z_i − z_j` and the one before, `flow`: `F`, `[rows, d]`; `z`: `[node rows, d]`; `shared`: the agents' shared
/// features `[NODE_SHARED, node rows]`; `smoothness`: `L_e` `[rows, 1]`.
pub fn edge(
    d: [Tensor<2>; 2],
    flow: Tensor<2>,
    z: Tensor<2>,
    shared: Tensor<2>,
    smoothness: Tensor<2>,
    ends: Ends,
    conditioning: bool,
) -> Features {
    let plain = |t: Tensor<2>| t.inner().into_dispatch();
    let [d, d_last] = d.map(plain);
    let (varying, shared) = <Dispatch as FeatureOps>::edge_features(
        d,
        d_last,
        plain(flow),
        plain(z),
        plain(shared),
        plain(smoothness),
        ends,
        conditioning,
    );
    Features {
        varying: Tensor::from_dispatch(varying),
        shared: Tensor::from_dispatch(shared),
    }
}
