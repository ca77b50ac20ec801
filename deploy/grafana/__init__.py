"""Grafana's dashboards: `python -m deploy.grafana` writes them as JSON.

Owns what is drawn and how. Nothing of it runs beside a zoo: Grafana reads the files.
"""
