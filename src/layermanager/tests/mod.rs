mod damaged;
mod ground;
mod hostile;
mod install;
mod lifecycle;
mod privileged;
mod support;
mod unpacking;
