//! Which modules of the crate a file refers to.

#[cfg(test)]
mod tests;

use proc_macro2::{Delimiter, Ident, Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// Name of the crate, as its binary and its tests see it.
const CRATE: &str = "aos_servicemanager";

/// One reference of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Line in the file, from 1.
    pub(crate) line: usize,
    /// To what.
    pub(crate) target: Target,
}

/// What is referred to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Something at or below this name in the root of the crate.
    Module(String),
    /// Something that keeps this test from seeing where it leads.
    Obscure(&'static str),
    /// A macro that stands for missing code.
    Unfinished(String),
}

/// All references to the crate's own modules in the source of `module`, which
/// is empty for the root.
pub(crate) fn references(source: &str, module: &[String]) -> syn::Result<Vec<Reference>> {
    let file = syn::parse_file(source)?;
    let mut walk = Walk {
        module: module.to_vec(),
        found: Vec::new(),
    };
    walk.visit_file(&file);

    Ok(walk.found)
}

struct Walk {
    module: Vec<String>,
    found: Vec<Reference>,
}

impl Walk {
    fn add(&mut self, span: Span, target: Target) {
        let line = span.start().line;
        self.found.push(Reference { line, target });
    }

    /// Adds what a path refers to, if it is ours.
    fn path(&mut self, path: &[Ident], imported: bool) {
        let Some(first) = path.first() else {
            return;
        };
        let Some(absolute) = self.absolute(path) else {
            return;
        };

        match absolute.into_iter().next() {
            Some(top) => self.add(first.span(), Target::Module(top)),
            None if imported => self.add(first.span(), Target::Obscure("the whole crate")),
            None => {}
        }
    }

    /// The path from the root of the crate; `None` if it is not known to be
    /// ours.
    fn absolute(&self, path: &[Ident]) -> Option<Vec<String>> {
        let names: Vec<String> = path.iter().map(ToString::to_string).collect();
        let (first, rest) = names.split_first()?;
        let mut absolute = match first.as_str() {
            "crate" | CRATE => Vec::new(),
            "self" => self.module.clone(),
            "super" => parent(self.module.clone()),
            _ if self.module.is_empty() => vec![first.clone()],
            _ => return None,
        };
        for name in rest {
            match name.as_str() {
                "super" => absolute = parent(absolute),
                "self" => {}
                _ => absolute.push(name.clone()),
            }
        }

        Some(absolute)
    }

    fn use_tree(&mut self, tree: &syn::UseTree, mut prefix: Vec<Ident>) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.clone());
                self.use_tree(&path.tree, prefix);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.use_tree(tree, prefix.clone());
                }
            }
            syn::UseTree::Glob(_) => self.path(&prefix, true),
            syn::UseTree::Name(syn::UseName { ident })
            | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                prefix.push(ident.clone());
                self.path(&prefix, true);
            }
        }
    }

    /// Paths in the tokens of a macro, which nobody has parsed.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut position = 0;
        while let Some(token) = tokens.get(position) {
            position += 1;
            match token {
                TokenTree::Ident(ident) if starts_path(ident) => {
                    position += self.token_path(vec![ident.clone()], &tokens[position..]);
                }
                TokenTree::Ident(ident) if is_punct(tokens.get(position), '!') => {
                    self.unfinished(ident);
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                _ => {}
            }
        }
    }

    /// Reads on after the start of a path. Returns how many tokens it took.
    fn token_path(&mut self, mut path: Vec<Ident>, rest: &[TokenTree]) -> usize {
        let mut taken = 0;
        while is_punct(rest.get(taken), ':') && is_punct(rest.get(taken + 1), ':') {
            match rest.get(taken + 2) {
                Some(TokenTree::Ident(ident)) => path.push(ident.clone()),
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
                    for item in tokens.split(|token| is_punct(Some(token), ',')) {
                        if let Some(TokenTree::Ident(ident)) = item.first() {
                            let mut path = path.clone();
                            path.push(ident.clone());
                            self.token_path(path, &item[1..]);
                        }
                    }
                    return taken + 3;
                }
                Some(TokenTree::Punct(punct)) if punct.as_char() == '*' => {
                    self.path(&path, true);
                    return taken + 3;
                }
                _ => break,
            }
            taken += 3;
        }
        if path.len() > 1 {
            self.path(&path, false);
        }

        taken
    }

    fn unfinished(&mut self, name: &Ident) {
        if name == "todo" || name == "unimplemented" {
            self.add(name.span(), Target::Unfinished(name.to_string()));
        }
    }

    /// A path in a text of an attribute, as in `#[serde(with = "crate::x")]`.
    fn texts(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.texts(group.stream()),
                TokenTree::Literal(literal) => {
                    let text = syn::parse_str::<syn::LitStr>(&literal.to_string());
                    if let Ok(path) = text.and_then(|text| text.parse::<syn::Path>()) {
                        // Its idents have no place in the file: use the text's.
                        let idents = path.segments.into_iter().map(|mut segment| {
                            segment.ident.set_span(literal.span());
                            segment.ident
                        });
                        self.path(&idents.collect::<Vec<_>>(), false);
                    }
                }
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Walk {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let moved = item
            .attrs
            .iter()
            .any(|attribute| attribute.path().is_ident("path"));
        if moved {
            self.add(
                item.ident.span(),
                Target::Obscure("a module in another file"),
            );
        }

        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if item.leading_colon.is_none() {
            self.use_tree(&item.tree, Vec::new());
        }
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        if item.ident == "self" {
            self.add(
                item.ident.span(),
                Target::Obscure("another name of the crate"),
            );
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            let idents = path.segments.iter().map(|segment| segment.ident.clone());
            self.path(&idents.collect::<Vec<_>>(), false);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if let Some(name) = call.path.segments.last() {
            self.unfinished(&name.ident);
            if name.ident == "include" {
                self.add(name.ident.span(), Target::Obscure("code of another file"));
            }
        }
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
            self.texts(list.tokens.clone());
        }
        visit::visit_attribute(self, attribute);
    }
}

fn parent(mut module: Vec<String>) -> Vec<String> {
    module.pop();
    module
}

fn starts_path(ident: &Ident) -> bool {
    ["crate", "self", "super", CRATE]
        .iter()
        .any(|start| ident == start)
}

fn is_punct(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}
