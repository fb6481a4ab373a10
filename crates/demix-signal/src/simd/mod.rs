//! Vector instructions for the kernels of the factorisations and of the demixing.
//!
//! [`Lanes`] is a register, [`Simd`] what a user may ask for, [`Isa`] what the processor then runs. Kernels are
//! generic in [`Lanes`] and inlined into one function for each [`Isa`].

#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc)] // one contract for all methods, stated at the trait

use crate::Real;

mod aligned;
mod lanes;

pub use aligned::{Aligned, LINE_BYTES};
#[cfg(target_arch = "x86_64")]
pub use lanes::x86;
pub use lanes::{Lanes, Portable};

crate::choices! {
    /// The vector instructions that the kernels use.
    pub enum Simd {
        /// The widest that this processor has.
        Native = "native",
        /// At most 256 bits (AVX2 and FMA), where the processor has them.
        Avx2 = "avx2",
        /// No particular instructions: the same bits on every machine, several times slower.
        Portable = "portable",
    }
}

/// Instructions, after asking the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 F.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Any processor.
    Portable,
}

impl Simd {
    /// The instructions that the choice means on this processor.
    pub fn isa(self) -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            if self == Self::Native && is_x86_feature_detected!("avx512f") {
                return Isa::Avx512;
            }
            if self != Self::Portable && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Isa::Avx2;
            }
        }
        Isa::Portable
    }

    /// What the choice means on this processor: `avx512`, `avx2` or `portable`.
    pub fn resolved(self) -> &'static str {
        match self.isa() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => "avx2",
            Isa::Portable => "portable",
        }
    }
}

/// A piece of work that is written once for all registers.
pub trait Kernel<T> {
    /// What it gives.
    type Output;

    /// Does it. Implementations are `#[inline(always)]`, and so is every function that they call: that is how
    /// they are compiled for the instructions of `L`.
    ///
    /// # Safety
    /// The processor has the instructions of `L`.
    unsafe fn run<L: Lanes<Real = T>>(self) -> Self::Output;
}

/// A precision that has registers.
pub trait Vectors: Real {
    /// Runs a kernel with the instructions that `simd` means on this processor.
    fn run<K: Kernel<Self>>(simd: Simd, kernel: K) -> K::Output;
}

macro_rules! vectors {
    ($real:ty, $avx512:ident, $avx2:ident, $portable:ty) => {
        impl Vectors for $real {
            fn run<K: Kernel<$real>>(simd: Simd, kernel: K) -> K::Output {
                #[cfg(target_arch = "x86_64")]
                #[target_feature(enable = "avx512f,avx2,fma")]
                fn avx512<K: Kernel<$real>>(kernel: K) -> K::Output {
                    // SAFETY: this function runs only where the instructions are.
                    unsafe { kernel.run::<x86::$avx512>() }
                }
                #[cfg(target_arch = "x86_64")]
                #[target_feature(enable = "avx2,fma")]
                fn avx2<K: Kernel<$real>>(kernel: K) -> K::Output {
                    // SAFETY: this function runs only where the instructions are.
                    unsafe { kernel.run::<x86::$avx2>() }
                }
                // SAFETY: Simd::isa asks the processor.
                unsafe {
                    match simd.isa() {
                        #[cfg(target_arch = "x86_64")]
                        Isa::Avx512 => avx512(kernel),
                        #[cfg(target_arch = "x86_64")]
                        Isa::Avx2 => avx2(kernel),
                        Isa::Portable => kernel.run::<$portable>(),
                    }
                }
            }
        }
    };
}

vectors!(f32, Avx512F32, Avx2F32, Portable<f32, 4>);
vectors!(f64, Avx512F64, Avx2F64, Portable<f64, 4>);
