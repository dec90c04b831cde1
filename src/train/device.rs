//! Where meta-training runs: `auto` takes wgpu where a real GPU answers, else the CPU, and says which.

use burn::tensor::Device;
#[cfg(feature = "wgpu")]
use burn::tensor::{DeviceKind, DeviceType};

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum DeviceChoice {
    /// wgpu where a real GPU answers, else the CPU.
    #[default]
    Auto,
    /// burn-flex.
    Cpu,
    /// burn-wgpu, software adapters included.
    Wgpu,
}

/// Why no device could be had.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The build lacks the device.
    #[error("this build has no {0} device; expected a build with feature `{0}`")]
    NotBuilt(&'static str),
    /// No adapter answered.
    #[error("no wgpu adapter answers: {0}")]
    NoAdapter(String),
}

/// A device without gradients, and what to call it.
#[derive(Clone, Debug)]
pub struct TrainDevice {
    /// The device; `device.clone().autodiff()` records gradients.
    pub device: Device,
    /// `"cpu (burn-flex)"`, or the adapter's name.
    pub name: String,
    /// Whether several host threads may each unroll a part of the batch.
    pub parallel: bool,
    /// Bytes of the largest tensor that it can hold.
    pub largest_tensor: usize,
}

/// The longest axis that is summed on wgpu, per number that a unit loads at once: longer ones lose their ends (CubeCL 0.11.3).
const LONGEST_SUM: usize = 65_536;

impl TrainDevice {
    /// The longest axis of this kind (its length divisible by 4, by 2 or odd) that the device sums rightly.
    pub fn longest_sum(&self, length: usize) -> usize {
        if self.parallel {
            return usize::MAX;
        }
        let at_once = [4, 2, 1].into_iter().find(|n| length.is_multiple_of(*n));
        LONGEST_SUM * at_once.unwrap_or(1)
    }
}

impl TrainDevice {
    /// Opens the device asked for.
    ///
    /// # Errors
    /// A device that this build lacks, or no adapter.
    pub fn open(choice: DeviceChoice) -> Result<Self, DeviceError> {
        match choice {
            DeviceChoice::Cpu => Self::cpu(),
            DeviceChoice::Wgpu => Self::wgpu(true),
            DeviceChoice::Auto => Self::wgpu(false).or_else(|_| Self::cpu()),
        }
    }

    /// burn-flex.
    ///
    /// # Errors
    /// A build without feature `cpu`.
    #[cfg(feature = "cpu")]
    pub fn cpu() -> Result<Self, DeviceError> {
        Ok(Self {
            device: Device::flex(),
            name: "cpu (burn-flex)".into(),
            parallel: true,
            largest_tensor: usize::MAX,
        })
    }
    /// burn-flex.
    ///
    /// # Errors
    /// A build without feature `cpu`.
    #[cfg(not(feature = "cpu"))]
    pub fn cpu() -> Result<Self, DeviceError> {
        Err(DeviceError::NotBuilt("cpu"))
    }

    /// The first GPU; with `software`, an adapter of CPU type (Mesa's lavapipe) is taken where there is no GPU.
    ///
    /// # Errors
    /// No adapter, or one that cannot be opened.
    #[cfg(feature = "wgpu")]
    pub fn wgpu(software: bool) -> Result<Self, DeviceError> {
        let present = Device::enumerate(DeviceType::Wgpu);
        let mut kinds = vec![
            DeviceKind::DiscreteGpu(0),
            DeviceKind::IntegratedGpu(0),
            DeviceKind::VirtualGpu(0),
        ];
        if software {
            kinds.push(DeviceKind::Cpu);
        }
        let kind = kinds
            .into_iter()
            .find(|kind| present.contains(&Device::wgpu(kind.clone())))
            .ok_or_else(|| DeviceError::NoAdapter("none was found".into()))?;
        // A kind is registered once per process; whoever comes second gets its device from `Device::wgpu`.
        static OPENED: std::sync::Mutex<Vec<(DeviceKind, String)>> =
            std::sync::Mutex::new(Vec::new());
        let mut opened = OPENED
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = opened
            .iter()
            .find(|(k, _)| *k == kind)
            .map(|(_, name)| name.clone());
        let name = match known {
            Some(name) => name,
            None => {
                let (_, setup) = Device::wgpu_options()
                    .device_kind(kind.clone())
                    .init_with_setup()
                    .map_err(|e| DeviceError::NoAdapter(e.to_string()))?;
                let info = setup.adapter.get_info();
                let name = format!("wgpu ({}, {})", info.name, info.backend);
                opened.push((kind.clone(), name.clone()));
                name
            }
        };
        let device = Device::wgpu(kind);
        Ok(Self {
            largest_tensor: super::kernel::gpu::largest_tensor(&device),
            device,
            name,
            parallel: false,
        })
    }
    /// The first GPU.
    ///
    /// # Errors
    /// A build without feature `wgpu`.
    #[cfg(not(feature = "wgpu"))]
    pub fn wgpu(_software: bool) -> Result<Self, DeviceError> {
        Err(DeviceError::NotBuilt("wgpu"))
    }
}
