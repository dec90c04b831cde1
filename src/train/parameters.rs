//! A module's parameters, and their gradients, as one host vector in visiting order.
//!
//! Adam runs on this vector (`trainer`): a rule has a few thousand numbers, the same on every device, and its moments can be
//! checkpointed and restored exactly. (Burn 0.22's optimizer restores its moments on the *default* device, which need not exist.)

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};

/// One parameter's place in the host vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Path of the parameter in the module, such as `node.0.weight`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// Names and shapes of all parameters in visiting order.
pub fn slots<M: Module>(module: &M) -> Vec<Slot> {
    struct Names {
        path: Vec<String>,
        slots: Vec<Slot>,
    }
    impl ModuleVisitor for Names {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.into());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.slots.push(Slot {
                name: self.path.join("."),
                shape: param.val().dims().to_vec(),
            });
        }
    }
    let mut names = Names {
        path: Vec::new(),
        slots: Vec::new(),
    };
    module.visit(&mut names);
    names.slots
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    // A device that fails to answer gives NaN: counted as a non-finite gradient, never mistaken for a value.
    let length = tensor.dims().iter().product();
    tensor
        .try_into_vec_as::<f64>()
        .unwrap_or_else(|_| vec![f64::NAN; length])
}

/// All parameters.
pub fn values<M: Module>(module: &M) -> Vec<f64> {
    struct Values(Vec<f64>);
    impl ModuleVisitor for Values {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.extend(host(param.val().detach()));
        }
    }
    let mut values = Values(Vec::new());
    module.visit(&mut values);
    values.0
}

/// All gradients; zero for a parameter that the loss does not depend on.
pub fn gradients<M: Module>(module: &M, gradients: &GradientsParams) -> Vec<f64> {
    struct Values<'a>(Vec<f64>, &'a GradientsParams);
    impl ModuleVisitor for Values<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            match self.1.get::<D>(param.id) {
                Some(gradient) => self.0.extend(host(gradient)),
                None => {
                    let length: usize = param.val().dims().iter().product();
                    self.0.extend(std::iter::repeat_n(0.0, length));
                }
            }
        }
    }
    let mut values = Values(Vec::new(), gradients);
    module.visit(&mut values);
    values.0
}

/// The module with all parameters replaced, ids kept.
pub fn with_values<M: Module>(module: M, values: &[f64]) -> M {
    struct Replace<'a>(&'a [f64]);
    impl ModuleMapper for Replace<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, tensor, mapper) = param.consume();
            let shape = tensor.dims();
            let (mine, rest) = self.0.split_at(shape.iter().product());
            self.0 = rest;
            let plain = tensor.clone().inner();
            let data = TensorData::new(mine.to_vec(), shape);
            let fresh = Tensor::<D>::from_data(data, (&plain.device(), plain.dtype()));
            let fresh = if tensor.is_require_grad() {
                fresh.autodiff().require_grad()
            } else {
                fresh
            };
            Param::from_mapped_value(id, fresh, mapper)
        }
    }
    module.map(&mut Replace(values))
}
