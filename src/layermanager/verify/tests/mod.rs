mod items;
mod trees;
