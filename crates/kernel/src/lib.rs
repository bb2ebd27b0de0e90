//! Kernel bundles: import, module selection, initramfs, own builds.
