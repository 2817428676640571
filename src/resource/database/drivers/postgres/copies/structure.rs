//! What is declared in a database, object by object, in a form that is equal for a database and its copy.
//!
//! Objects go by their names, never by their numbers, and by what the server says of them. What belongs to an extension is
//! said by its name and version. Left out is what comes and goes without meaning (indexes that never became valid), and
//! what a copy has for itself (the limit of connections, who may connect).
use super::super::error::told;
use super::mark::hex;
use crate::resource::Failure;
use sha2::{Digest, Sha256};
use tokio_postgres::Client;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    pub kind: String,
    pub name: String,
    says: String,
    /// Owner and privileges: these are of the server, not of the product.
    whose: String,
}

pub struct Structure(Vec<Object>);

/// `{own:CLASS:OID}`: made by somebody, and no part of an extension. `{acl:COLUMN:KIND:OWNER}`: privileges, written out.
const QUERIES: &[&str] = &[
    // Schemas, extensions.
    "SELECT 'schema', quote_ident(nspname), '', concat_ws(' ', nspowner::regrole, {acl:nspacl:n:nspowner}) \
     FROM pg_namespace n WHERE ({own:pg_namespace:n.oid} OR nspname = 'public') AND nspname !~ '^pg_'",
    "SELECT 'extension', quote_ident(extname), concat_ws(' ', extversion, extnamespace::regnamespace), '' FROM pg_extension",
    // Tables, views, sequences and what else has columns.
    "SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialised view' WHEN 'S' THEN 'sequence' WHEN 'c' THEN 'type' \
         ELSE 'table' END, format('%I.%I', nspname, relname), \
         concat_ws(' ', relkind, relpersistence, c.reloptions::text, \
             (SELECT t.reloptions::text FROM pg_class t WHERE t.oid = c.reltoastrelid), \
             relrowsecurity, relforcerowsecurity, relreplident, relispopulated, relispartition, \
             (SELECT spcname FROM pg_tablespace s WHERE s.oid = reltablespace), (SELECT amname FROM pg_am a WHERE a.oid = relam), \
             nullif(reloftype, 0)::regtype, pg_get_expr(relpartbound, c.oid), pg_get_partkeydef(c.oid), \
             (SELECT string_agg(inhparent::regclass::text, ' ' ORDER BY inhseqno) FROM pg_inherits WHERE inhrelid = c.oid), \
             CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END, \
             (SELECT concat_ws(' ', srvname, ftoptions::text) FROM pg_foreign_table JOIN pg_foreign_server s ON s.oid = ftserver \
              WHERE ftrelid = c.oid)), \
         concat_ws(' ', relowner::regrole, CASE WHEN relkind = 'S' THEN {acl:relacl:s:relowner} ELSE {acl:relacl:r:relowner} END) \
     FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
     WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c') AND relpersistence <> 't' AND {own:pg_class:c.oid}",
    // Some servers note in a column's options when it was made; that is no option.
    "SELECT 'column', format('%I.%I.%I', nspname, relname, attname), \
         concat_ws(' ', CASE WHEN relispartition OR NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid) \
                 THEN (SELECT count(*) FROM pg_attribute b WHERE b.attrelid = c.oid AND b.attnum BETWEEN 1 AND a.attnum AND NOT b.attisdropped) END, \
             format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid), attidentity, attgenerated, attstorage, \
             attcompression, attstattarget, (SELECT string_agg(o, ' ' ORDER BY o) FROM unnest(attoptions) o WHERE o NOT LIKE 'pg\\_attver=%'), attfdwoptions::text, \
             CASE WHEN NOT relispartition THEN attislocal END, \
             (SELECT format('%I.%I', collnamespace::regnamespace::text, collname) FROM pg_collation k WHERE k.oid = attcollation)), \
         coalesce({acl:attacl::}, '') \
     FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace \
         LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum \
     WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND relpersistence <> 't' AND attnum > 0 AND NOT attisdropped AND {own:pg_class:c.oid}",
    "SELECT 'sequence', format('%I.%I', nspname, relname), \
         concat_ws(' ', seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle, \
             (SELECT format('%s.%I', refobjid::regclass, attname) FROM pg_depend d JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid \
              WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i'))), '' \
     FROM pg_sequence JOIN pg_class c ON c.oid = seqrelid JOIN pg_namespace n ON n.oid = relnamespace \
     WHERE relpersistence <> 't' AND {own:pg_class:c.oid}",
    "SELECT 'constraint', concat_ws('.', coalesce(nullif(conrelid, 0)::regclass::text, nullif(contypid, 0)::regtype::text), quote_ident(conname)), \
         concat_ws(' ', contype, pg_get_constraintdef(k.oid), convalidated, CASE WHEN contype = 'c' THEN connoinherit END), '' \
     FROM pg_constraint k LEFT JOIN pg_class c ON c.oid = conrelid \
     WHERE contype <> 'n' AND NOT (contype IN ('f', 't') AND (conparentid <> 0 OR contype = 't')) \
         AND coalesce(relpersistence, 'p') <> 't' AND {own:pg_constraint:k.oid} \
         AND CASE WHEN conrelid <> 0 THEN {own:pg_class:conrelid} ELSE {own:pg_type:contypid} END",
    "SELECT 'index', format('%I.%I', nspname, c.relname), \
         concat_ws(' ', pg_get_indexdef(c.oid), indisclustered, indisreplident, indisvalid, \
             (SELECT spcname FROM pg_tablespace s WHERE s.oid = c.reltablespace), \
             (SELECT string_agg(concat(attnum, ':', attstattarget), ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid), \
             (SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = c.oid)), '' \
     FROM pg_index i JOIN pg_class c ON c.oid = indexrelid JOIN pg_class t ON t.oid = indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE (indisvalid OR c.relkind = 'I') AND t.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND {own:pg_class:t.oid}",
    "SELECT 'trigger', format('%s.%I', tgrelid::regclass, tgname), concat_ws(' ', pg_get_triggerdef(t.oid), tgenabled), '' \
     FROM pg_trigger t WHERE NOT tgisinternal AND {own:pg_trigger:t.oid} AND {own:pg_class:tgrelid}",
    // Those that check references are switched off by hand alone, and no tool carries that over.
    "SELECT 'trigger', format('%s.%I', tgrelid::regclass, conname), concat_ws(' ', tgtype, tgenabled, tgfoid::regproc), '' \
     FROM pg_trigger t JOIN pg_constraint k ON k.oid = tgconstraint WHERE tgisinternal AND tgenabled <> 'O'",
    "SELECT 'rule', format('%s.%I', ev_class::regclass, rulename), concat_ws(' ', pg_get_ruledef(r.oid), ev_enabled), '' \
     FROM pg_rewrite r WHERE rulename <> '_RETURN' AND {own:pg_rewrite:r.oid} AND {own:pg_class:ev_class}",
    "SELECT 'policy', format('%s.%I', polrelid::regclass, polname), \
         concat_ws(' ', polcmd, polpermissive, pg_get_expr(polqual, polrelid), '/', pg_get_expr(polwithcheck, polrelid)), \
         (SELECT string_agg(CASE role WHEN 0 THEN 'public' ELSE role::regrole::text END, ' ' ORDER BY CASE role WHEN 0 THEN '' ELSE role::regrole::text END) FROM unnest(polroles) role) \
     FROM pg_policy p WHERE {own:pg_class:polrelid}",
    "SELECT 'statistics', format('%I.%I', nspname, stxname), concat_ws(' ', pg_get_statisticsobjdef(s.oid), to_jsonb(s) ->> 'stxstattarget'), stxowner::regrole::text \
     FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = stxnamespace WHERE {own:pg_statistic_ext:s.oid}",
    // What is made of code.
    "SELECT 'function', format('%I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(p.oid)), \
         CASE WHEN prokind = 'a' THEN (SELECT concat_ws(' ', pg_get_function_result(p.oid), aggkind, aggtransfn::regprocedure, aggfinalfn::regprocedure, \
                 aggcombinefn::regprocedure, aggserialfn::regprocedure, aggdeserialfn::regprocedure, aggmtransfn::regprocedure, aggminvtransfn::regprocedure, \
                 aggmfinalfn::regprocedure, aggfinalextra, aggfinalmodify, aggsortop::regoperator, aggtranstype::regtype, agginitval, proparallel) \
             FROM pg_aggregate WHERE aggfnoid = p.oid) ELSE pg_get_functiondef(p.oid) END, \
         concat_ws(' ', proowner::regrole, {acl:proacl:f:proowner}) \
     FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname !~ '^pg_' AND {own:pg_proc:p.oid}",
    "SELECT 'type', format('%I.%I', nspname, typname), \
         concat_ws(' ', typtype, typcategory, typisdefined, nullif(format_type(nullif(typbasetype, 0), typtypmod), '-'), typnotnull, typdefault, typcollation::regcollation, \
             (SELECT string_agg(quote_literal(enumlabel), ' ' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid), \
             (SELECT concat_ws(' ', rngsubtype::regtype, rngcollation::regcollation, rngcanonical::regproc, rngsubdiff::regproc, \
                 (SELECT opcname FROM pg_opclass o WHERE o.oid = rngsubopc)) FROM pg_range WHERE rngtypid = t.oid), \
             CASE WHEN typtype = 'b' THEN concat_ws(' ', typlen, typbyval, typalign, typstorage, typdelim, typinput::regproc, typoutput::regproc, \
                 typreceive::regproc, typsend::regproc, typmodin::regproc, typmodout::regproc, typanalyze::regproc) END), \
         concat_ws(' ', typowner::regrole, {acl:typacl:T:typowner}) \
     FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace \
     WHERE nspname !~ '^pg_' AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid) AND t.typtype <> 'm' \
         AND (typrelid = 0 OR (SELECT relkind FROM pg_class WHERE oid = typrelid) = 'c') AND {own:pg_type:t.oid}",
    "SELECT 'cast', format('%s as %s', castsource::regtype, casttarget::regtype), concat_ws(' ', castfunc::regprocedure, castcontext, castmethod), '' \
     FROM pg_cast c WHERE {own:pg_cast:c.oid}",
    "SELECT 'operator', o.oid::regoperator::text, concat_ws(' ', oprkind, oprcanmerge, oprcanhash, oprresult::regtype, oprcom::regoperator, oprnegate::regoperator, \
         oprcode::regprocedure, oprrest::regproc, oprjoin::regproc), oprowner::regrole::text FROM pg_operator o WHERE {own:pg_operator:o.oid}",
    "SELECT 'operator class', (pg_identify_object('pg_opclass'::regclass, o.oid, 0)).identity, \
         concat_ws(' ', opcintype::regtype, opcdefault, opckeytype::regtype), opcowner::regrole::text FROM pg_opclass o WHERE {own:pg_opclass:o.oid}",
    "SELECT 'operator family', (pg_identify_object('pg_opfamily'::regclass, f.oid, 0)).identity, \
         concat_ws(' ', (SELECT string_agg(concat_ws(' ', amopstrategy, amopopr::regoperator, amoppurpose), ',' ORDER BY amopstrategy, amopopr::regoperator::text) FROM pg_amop WHERE amopfamily = f.oid), \
             (SELECT string_agg(concat_ws(' ', amprocnum, amproclefttype::regtype, amprocrighttype::regtype, amproc::regprocedure), ',' ORDER BY amprocnum, amproclefttype::regtype::text, amprocrighttype::regtype::text) FROM pg_amproc WHERE amprocfamily = f.oid)), \
         opfowner::regrole::text FROM pg_opfamily f WHERE {own:pg_opfamily:f.oid}",
    "SELECT 'collation', (pg_identify_object('pg_collation'::regclass, c.oid, 0)).identity, \
         (to_jsonb(c) - 'oid' - 'collnamespace' - 'collowner')::text, collowner::regrole::text FROM pg_collation c WHERE {own:pg_collation:c.oid}",
    "SELECT 'conversion', (pg_identify_object('pg_conversion'::regclass, c.oid, 0)).identity, \
         concat_ws(' ', conforencoding, contoencoding, conproc::regproc, condefault), conowner::regrole::text FROM pg_conversion c WHERE {own:pg_conversion:c.oid}",
    "SELECT 'text search', (pg_identify_object('pg_ts_config'::regclass, c.oid, 0)).identity, \
         concat_ws(' ', cfgparser, (SELECT string_agg(concat_ws(' ', maptokentype, mapseqno, mapdict::regdictionary), ',' ORDER BY maptokentype, mapseqno) FROM pg_ts_config_map WHERE mapcfg = c.oid)), \
         cfgowner::regrole::text FROM pg_ts_config c WHERE {own:pg_ts_config:c.oid}",
    "SELECT 'text search dictionary', (pg_identify_object('pg_ts_dict'::regclass, d.oid, 0)).identity, dictinitoption, dictowner::regrole::text FROM pg_ts_dict d WHERE {own:pg_ts_dict:d.oid}",
    "SELECT 'language', quote_ident(lanname), concat_ws(' ', lanpltrusted, lanplcallfoid::regproc, laninline::regproc, lanvalidator::regproc), \
         concat_ws(' ', lanowner::regrole, {acl:lanacl:l:lanowner}) FROM pg_language l WHERE {own:pg_language:l.oid}",
    "SELECT 'event trigger', quote_ident(evtname), concat_ws(' ', evtevent, evtfoid::regproc, evtenabled, evttags::text), evtowner::regrole::text \
     FROM pg_event_trigger v WHERE {own:pg_event_trigger:v.oid}",
    // Other servers, publications.
    "SELECT 'foreign data wrapper', quote_ident(fdwname), concat_ws(' ', fdwhandler::regproc, fdwvalidator::regproc, fdwoptions::text), \
         concat_ws(' ', fdwowner::regrole, {acl:fdwacl:F:fdwowner}) FROM pg_foreign_data_wrapper f WHERE {own:pg_foreign_data_wrapper:f.oid}",
    "SELECT 'server', quote_ident(srvname), concat_ws(' ', (SELECT fdwname FROM pg_foreign_data_wrapper f WHERE f.oid = srvfdw), srvtype, srvversion, srvoptions::text), \
         concat_ws(' ', srvowner::regrole, {acl:srvacl:S:srvowner}) FROM pg_foreign_server s WHERE {own:pg_foreign_server:s.oid}",
    "SELECT 'user mapping', concat_ws(' ', CASE umuser WHEN 0 THEN 'public' ELSE umuser::regrole::text END, srvname), coalesce(umoptions::text, ''), '' \
     FROM pg_user_mapping JOIN pg_foreign_server s ON s.oid = umserver",
    "SELECT 'publication', quote_ident(pubname), (to_jsonb(p) - 'oid' - 'pubowner')::text, pubowner::regrole::text FROM pg_publication p",
    "SELECT 'publication', quote_ident(pubname), concat_ws(' ', to_jsonb(t) - 'attnames', \
         (SELECT string_agg(x, ' ' ORDER BY x) FROM jsonb_array_elements_text(nullif(to_jsonb(t) -> 'attnames', 'null')) x)), '' FROM pg_publication_tables t",
    // What is said of objects.
    "SELECT 'default privileges', concat_ws(' ', defaclrole::regrole, nullif(defaclnamespace, 0)::regnamespace, defaclobjtype), '', coalesce({acl:defaclacl::}, '') FROM pg_default_acl",
    "SELECT 'comment', (pg_identify_object(classoid, objoid, objsubid)).identity, description, '' FROM pg_description d \
     WHERE classoid <> 'pg_largeobject'::regclass AND (objoid >= 16384 OR classoid = 'pg_namespace'::regclass AND objoid = (SELECT oid FROM pg_namespace WHERE nspname = 'public')) \
         AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = classoid AND e.objid = objoid AND e.deptype = 'e')",
    "SELECT 'security label', (pg_identify_object(classoid, objoid, objsubid)).identity, concat_ws(' ', provider, label), '' FROM pg_seclabel \
     WHERE classoid <> 'pg_largeobject'::regclass",
    // The database itself.
    "SELECT 'database', '', concat_ws(' ', pg_encoding_to_char(encoding), datcollate, datctype, to_jsonb(d) ->> 'datlocprovider', \
         to_jsonb(d) ->> 'daticulocale', to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticurules'), \
         concat_ws(' ', datdba::regrole, (SELECT spcname FROM pg_tablespace s WHERE s.oid = dattablespace)) \
     FROM pg_database d WHERE datname = current_database()",
    "SELECT 'setting', coalesce(nullif(setrole, 0)::regrole::text, ''), '', setting FROM pg_db_role_setting, unnest(setconfig) setting \
     WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) AND setting NOT LIKE 'backout.%'",
    "SELECT 'security label', 'database', '', concat_ws(' ', provider, label) FROM pg_shseclabel WHERE classoid = 'pg_database'::regclass \
         AND objoid = (SELECT oid FROM pg_database WHERE datname = current_database())",
];

/// On a connection that compares (`content::comparing`).
pub async fn read(session: &Client) -> Result<Structure, Failure> {
    let mut objects = Vec::new();
    for query in QUERIES {
        for row in session.query(&written_out(query), &[]).await.map_err(told)? {
            let text = |i: usize| row.get::<_, Option<String>>(i).unwrap_or_default();
            objects.push(Object { kind: text(0), name: text(1), says: normal(&text(2)), whose: text(3) });
        }
    }
    objects.sort_unstable();
    Ok(Structure(objects))
}

fn written_out(query: &str) -> String {
    let (mut text, mut rest) = (String::new(), query);
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let Some((what, after)) = after.split_once('}') else { break };
        let words: Vec<&str> = what.splitn(4, ':').collect();
        match words.as_slice() {
            ["own", class, oid] => text.push_str(&format!(
                "({oid} >= 16384 AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = '{class}'::regclass AND e.objid = {oid} AND e.deptype = 'e'))"
            )),
            ["acl", column, kind, owner] => {
                let all = if kind.is_empty() {
                    (*column).to_owned()
                } else {
                    format!("coalesce({column}, acldefault('{kind}', {owner}))")
                };
                text.push_str(&format!(
                    "(SELECT string_agg(item::text, ' ' ORDER BY item::text) FROM unnest({all}) item)"
                ));
            }
            _ => {}
        }
        rest = after;
    }
    text.push_str(rest);
    // Each column as text.
    format!("SELECT (q).a::text, (q).b::text, (q).c::text, (q).d::text FROM ({text}) q(a, b, c, d)")
        .replace("(q).", "q.")
}

impl Structure {
    /// `whose`: with owners, privileges and settings, which are of this server.
    pub fn digest(&self, whose: bool) -> String {
        let mut digest = Sha256::new();
        let mut add = |text: &str| {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        };
        for object in &self.0 {
            if !whose
                && matches!(object.kind.as_str(), "database" | "setting" | "security label" | "default privileges")
            {
                continue;
            }
            add(&object.kind);
            add(&object.name);
            add(&object.says);
            if whose {
                add(&object.whose);
            }
        }
        hex(&digest.finalize())
    }

    /// What the first few are called that differ.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let only = |a: &Self, b: &Self| {
            let missing = a.0.iter().filter(|object| b.0.binary_search(object).is_err());
            missing.map(|object| format!("{} {}", object.kind, object.name).trim().to_owned()).collect::<Vec<_>>()
        };
        let mut all = only(self, other);
        all.extend(only(other, self));
        all.sort();
        all.dedup();
        all
    }
}

/// As the server would say it once it had read its own words again: when it reads `(ARRAY[a, b])::text[]`, it casts each
/// element, and says `ARRAY[(a)::text, (b)::text]` from then on. A copy was made of such words.
fn normal(text: &str) -> String {
    let mut text = text.to_owned();
    // Arrays in arrays.
    for _ in 0..8 {
        match cast_each(&text) {
            Some(next) => text = next,
            None => break,
        }
    }
    text
}

fn cast_each(text: &str) -> Option<String> {
    const BEGIN: &str = "(ARRAY[";
    let (mut out, mut from, mut changed) = (String::new(), 0, false);
    while let Some(at) = text.get(from..)?.find(BEGIN).map(|at| from + at) {
        let inside = at + BEGIN.len();
        match elements(text, inside).and_then(|(elements, end)| Some((elements, kind(text.get(end..)?)?, end))) {
            Some((elements, (kind, length), end)) => {
                out.push_str(text.get(from..at)?);
                let each: Vec<String> = elements
                    .iter()
                    .map(
                        |e| if e.starts_with("ARRAY[") { format!("({e})::{kind}[]") } else { format!("({e})::{kind}") },
                    )
                    .collect();
                out.push_str(&format!("ARRAY[{}]", each.join(", ")));
                from = end + length;
                changed = true;
            }
            None => {
                out.push_str(text.get(from..inside)?);
                from = inside;
            }
        }
    }
    out.push_str(text.get(from..)?);
    changed.then_some(out)
}

/// What is between the brackets, and where the closing one has its end.
fn elements(text: &str, from: usize) -> Option<(Vec<&str>, usize)> {
    let (mut depth, mut quote, mut begin, mut all) = (0_u32, None, from, Vec::new());
    for (i, c) in text.get(from..)?.char_indices() {
        let i = from + i;
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[') => depth += 1,
            (None, ']') if depth == 0 => {
                all.push(text.get(begin..i)?.trim());
                return Some((all, i + 1));
            }
            (None, ')' | ']') => depth = depth.checked_sub(1)?,
            (None, ',') if depth == 0 => {
                all.push(text.get(begin..i)?.trim());
                begin = i + 1;
            }
            _ => {}
        }
    }
    None
}

/// `)::character varying[]`: the type of an element, and how long all of it is.
fn kind(text: &str) -> Option<(&str, usize)> {
    let rest = text.strip_prefix(")::")?;
    let end = rest.find("[]")?;
    let kind = rest.get(..end)?;
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '"' | ' ');
    (!kind.is_empty() && kind.chars().all(plain)).then_some((kind, ")::".len() + end + "[]".len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_of_arrays_go_to_their_elements() {
        let first =
            "CHECK (((status)::text = ANY ((ARRAY['a'::character varying, 'b,]'::character varying])::text[])))";
        let again =
            "CHECK (((status)::text = ANY (ARRAY[('a'::character varying)::text, ('b,]'::character varying)::text])))";
        assert_eq!(normal(first), again);
        assert_eq!(normal(again), again);
        for same in ["CHECK ((a > 0))", "ARRAY[1, 2]", "(ARRAY[1, 2", "(ARRAY[1])", "('(ARRAY['::text)", "ñ(ARRAY[ñ"]
        {
            assert_eq!(normal(same), same);
        }
        assert_ne!(normal("(ARRAY[a])::text[]"), normal("(ARRAY[a])::name[]"));
    }
}
