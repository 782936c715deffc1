mod device;
mod figures;
mod items;
mod old;
mod trees;
