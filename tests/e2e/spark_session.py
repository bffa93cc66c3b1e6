"""A Spark in this process's one JVM (`started`), and a client of one catalog of its session (`Catalog`)."""

import os

from pyspark.sql import SparkSession

from conftest import CACHE

SETTINGS = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
    "spark.driver.extraClassPath": f"{CACHE}/jars/*",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # A few rows at a time: a compiler of queries and a second thread cost more than they save.
    "spark.default.parallelism": "1",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
}


def started(folder):
    """A session, which lasts until the generator goes on."""
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    builder = SparkSession.builder.master("local[1]").config(map=SETTINGS)
    session = builder.config("spark.sql.warehouse.dir", folder).config("spark.local.dir", folder).getOrCreate()
    gateway = session.sparkContext._gateway
    yield session
    session.stop()
    gateway.shutdown()
    # By itself it would wait ten seconds for its connections to S3; nothing of it is kept.
    gateway.proc.kill()
    gateway.proc.wait(40)


class Catalog:
    """A catalog of the session. Names in its statements are looked up in it."""

    def __init__(self, spark, name, settings):
        self.spark, self.name = spark, name
        own = {"type": "rest", "rest.auth.type": "oauth2" if {"token", "credential"} & settings.keys() else "none"}
        if {"s3.access-key-id", "header.X-Iceberg-Access-Delegation"} & settings.keys():
            own["io-impl"] = "org.apache.iceberg.aws.s3.S3FileIO"
        spark.conf.set(f"spark.sql.catalog.{name}", "org.apache.iceberg.spark.SparkCatalog")
        for key, value in {**settings, **own}.items():
            spark.conf.set(f"spark.sql.catalog.{name}.{key}", value)

    def sql(self, statement):
        self.spark.catalog.setCurrentCatalog(self.name)
        return [tuple(row) for row in self.spark.sql(statement).collect()]

    def column(self, statement):
        return [row[0] for row in self.sql(statement)]
