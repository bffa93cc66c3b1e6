package org.apache.iceberg.rest;

import java.util.List;
import org.apache.iceberg.catalog.Namespace;

/** What one test leaves behind must not meet the next. */
class Leftovers {
  private Leftovers() {}

  static void dropAll(RESTCatalog catalog) {
    dropAll(catalog, Namespace.empty());
  }

  private static void dropAll(RESTCatalog catalog, Namespace parent) {
    List<Namespace> children =
        parent.isEmpty() ? catalog.listNamespaces() : catalog.listNamespaces(parent);
    for (Namespace child : children) {
      dropAll(catalog, child);
      catalog.listViews(child).forEach(catalog::dropView);
      catalog.listTables(child).forEach(table -> catalog.dropTable(table, true));
      catalog.dropNamespace(child);
    }
  }
}
